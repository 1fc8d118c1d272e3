"""Tenants do not know of each other, whatever route they take: another one's id is the same as one that never was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.estates import SCOPES, Estate, Ground, ground, lookup_body, settle
from tests.support.every_route import every_route
from tests.support.isolation import (
    NOBODYS,
    QUERY,
    Call,
    attacks,
    body_of,
    http_routes,
    model_of,
    never,
    path_of,
    seen,
    unknown_fields,
)
from tests.support.servers import TestServers
from workers.store.tenants import DEFAULT_TENANT

pytestmark = pytest.mark.integration
# What is asked of the server itself is no list, and the page of the metrics is one.
NO_LISTS = ("/health", "/docs", "/openapi.json")


class Town:
    """Two tenants and the first one, and what `alpha` saw before `bravo` had anything."""

    def __init__(self, on: Ground) -> None:
        self.on = on
        self.operator = settle(on, DEFAULT_TENANT, "OPERATORSMARK")
        self.alpha = settle(on, "alpha", "ALPHASMARK")
        self.before = self.lists()
        self.bravo = settle(on, "bravo", "BRAVOSMARK")
        # The use of a key is written down once a minute.
        on.call("GET", "/v1/batches", self.bravo.keys["read"])
        self.had = on.belonging(self.bravo)
        # What the attackers have said themselves, and may find in what is theirs.
        self.said: set[str] = set()

    def lists(self) -> dict[str, tuple[object, ...]]:
        """What alpha and a reader of the first tenant are told by each list and count."""
        key, reader = self.alpha.keys["admin"], self.operator.keys["read"]
        lists = [route for route in http_routes() if route.method == "GET" and "{" not in route.path]
        calls = [Call(route, route.path) for route in lists if route.path not in NO_LISTS]
        return {
            f"{call} {who}": seen(call.sent(self.on, which), "")
            for call in calls
            for who, which in (("alpha", key), ("reader", reader))
        }

    def tells_of_bravo(self, text: str, besides: str = "") -> list[str]:
        """What a reply holds of bravo but for what was in the call or in an earlier one."""
        self.said.add(besides)
        names = {self.bravo.mark, *self.bravo.secrets, *self.bravo.all_ids()} - self.said
        return sorted(each for each in names if each in (text.replace(besides, "") if besides else text))

    def check_unchanged(self, attacker: Estate) -> None:
        """Bravo has what it had; what names it besides is the attacker's own."""
        has = self.on.belonging(self.bravo)
        assert {name: has.get(name) for name in self.had} == self.had
        more = [doc for name, doc in has.items() if name not in self.had]
        assert {doc["tenant"] for doc in more} <= {attacker.tenant, DEFAULT_TENANT}


@pytest.fixture(scope="module")
def town(servers: TestServers) -> Iterator[Town]:
    with ground(servers) as on:
        yield Town(on)


def test_every_parameter_and_field_is_known_to_name_something_or_nothing(town: Town) -> None:
    for route in every_route():
        for collection in route.in_path.values():
            assert collection in NOBODYS or town.bravo.ids[collection], (
                f"{route}: what does {{{collection}}} name?"
            )
        for parameter in route.in_query:
            assert parameter == "after" or parameter in QUERY, f"{route}: what does ?{parameter}= name?"
            assert QUERY.get(parameter) is None or town.bravo.ids[QUERY[parameter] or ""]
    assert unknown_fields() == []
    json_bodies = [r for r in http_routes() if r.method in ("POST", "PATCH") and model_of(r) is not None]
    assert {"/v1/batches", "/v1/keys", "/v1/tenants", "/v1/webhooks"} <= {r.path for r in json_bodies}


def test_what_another_tenant_has_changes_no_list_and_no_count(town: Town) -> None:
    assert town.lists() == town.before


def attacked(town: Town, attacker: Estate, key: str, most: int) -> None:
    """Name everything of bravo's, then as often what never was; the replies, and bravo's documents, are the same."""
    theirs = attacks(attacker, lambda collection: town.bravo.ids[collection][:most])
    nobodys = attacks(attacker, lambda collection: [never(id_) for id_ in town.bravo.ids[collection][:most]])
    for call, empty in zip(theirs, nobodys, strict=True):
        reply = call.sent(town.on, key)
        assert not town.tells_of_bravo(reply.text, call.about), f"{call} tells of another tenant"
        assert seen(reply, call.about) == seen(empty.sent(town.on, key), empty.about), str(call)
    town.check_unchanged(attacker)


def test_another_tenants_id_is_the_same_as_one_that_never_was(town: Town) -> None:
    attacked(town, town.alpha, town.alpha.keys["admin"], most=1)


def test_a_key_of_the_first_tenant_without_admin_knows_no_more(town: Town) -> None:
    key = town.operator.keys["read"]
    for call in attacks(town.operator, lambda collection: town.bravo.ids[collection][-1:]):
        if call.route.scope != "read":
            continue
        reply = call.sent(town.on, key)
        assert not town.tells_of_bravo(reply.text, call.about), f"{call} tells of another tenant"


def test_no_socket_tells_of_another_tenants_batches(town: Town) -> None:
    key, theirs = town.alpha.keys["read"], town.bravo.ids["batches"]

    def asked(ids: list[str]) -> str:
        by_name = {"type": "subscribe", "batches": ids}
        by_last = {"type": "subscribe", "batches": "all", "last_event_ids": dict.fromkeys(ids, 0)}
        text = str(town.on.talk(key, by_name, by_last))
        for number, id_ in enumerate(ids):
            text = text.replace(id_, f"<{number}>")
        return text

    assert asked(theirs).partition("'all'")[0] == asked([never(id_) for id_ in theirs]).partition("'all'")[0]
    assert not town.tells_of_bravo(asked(theirs))


def test_the_same_question_is_answered_from_ones_own_cache_alone(town: Town) -> None:
    def known(who: Estate, mark: str) -> bool:
        reply = town.on.call("POST", "/v1/cache/lookup", who.keys["read"], json=lookup_body(mark))
        return bool(reply.json()["data"][0])

    assert known(town.alpha, town.alpha.mark) and known(town.bravo, town.bravo.mark)
    assert not known(town.alpha, town.bravo.mark)


def test_a_repeat_of_another_tenants_create_makes_ones_own(town: Town) -> None:
    doc = town.on.stores.batches.get(town.bravo.ids["batches"][1])
    assert doc is not None
    again = {"input_file_id": doc["input_file_id"], "endpoint": doc["endpoint"], "completion_window": "24h"}
    reply = town.on.call(
        "POST",
        "/v1/batches",
        town.operator.keys["submit"],
        headers={"x-stainless-retry-count": "1"},
        json=again | {"metadata": doc["metadata"]},
    )
    assert (reply.json()["status"], reply.json()["id"] == doc["_id"]) == ("failed", False)


def test_no_sequence_of_calls_reaches_another_tenant(town: Town) -> None:
    routes = [route for route in http_routes() if route.path.startswith("/v1/")]
    either = st.sampled_from([town.bravo, town.bravo, town.alpha])

    @settings(max_examples=20)
    @given(data=st.data())
    def law(data: st.DataObject) -> None:
        # given a call of alpha's with ids of either tenant, after whatever it has called before
        route = routes[data.draw(st.integers(0, len(routes) - 1))]
        named = {name: c for name, c in route.in_path.items() if c not in NOBODYS}
        owners = {name: data.draw(either) for name in named}
        ids = {name: data.draw(st.sampled_from(owners[name].ids[named[name]])) for name in named}
        town.said.update(ids.values())
        query = {"follow": "false"} if "follow" in route.in_query else {}
        path = path_of(route, town.alpha, **ids)
        call = Call(route, path, query=query, body=body_of(route, town.alpha))
        # when it is made, then what is not alpha's own is refused, and nobody else is told of
        reply = call.sent(town.on, town.alpha.keys["admin"])
        assert town.bravo not in owners.values() or reply.status_code in (403, 404), str(call)
        assert not town.tells_of_bravo(reply.text), str(call)

    law()
    town.check_unchanged(town.alpha)


def test_no_route_does_anything_without_a_key(town: Town) -> None:
    for route in http_routes():
        if route.path in NO_LISTS:
            continue
        reply = Call(route, path_of(route, town.alpha), body=body_of(route, town.alpha)).sent(town.on, None)
        assert (reply.status_code == 401) is route.path.startswith("/v1/"), (
            f"{route} answers {reply.status_code}"
        )


def needed(method: str, path: str) -> tuple[str, bool]:
    """The scope a route asks for, and whether its key must be the operator's: reads read, changes submit, and what
    settles who may do what, or may stop everybody, is for admins."""
    area = path.split("/")[2]
    if area == "tenants" and method == "POST" and path == "/v1/tenants":
        return "admin", True
    if area == "tenants" and method == "DELETE":
        return "admin", True
    if area in ("webhooks", "keys") or (area in ("tenants", "providers") and method != "GET"):
        return "admin", False
    if area == "cache" and method == "DELETE":
        return "admin", False
    return ("read" if method == "GET" or path == "/v1/cache/lookup" else "submit"), False


def test_every_route_asks_for_the_scope_of_what_it_does() -> None:
    routes = [route for route in http_routes() if route.path.startswith("/v1/")]
    wrong = {
        str(route): (route.scope, route.operator)
        for route in routes
        if (route.scope, route.operator) != needed(route.method, route.path)
    }
    assert wrong == {}


def test_a_key_of_one_scope_may_do_what_that_scope_allows(town: Town) -> None:
    allowed = {"read": {"read"}, "submit": {"submit"}, "admin": set(SCOPES)}
    for route in http_routes():
        if route.scope is None:
            continue
        ids = {name: never(town.alpha.ids[c][0]) for name, c in route.in_path.items() if c not in NOBODYS}
        call = Call(route, path_of(route, town.alpha, **ids), body={"unknown": 1})
        for scope in SCOPES:
            reply = call.sent(town.on, town.alpha.keys[scope])
            code = reply.json().get("error", {}).get("code") if reply.status_code == 403 else None
            lacks = route.scope not in allowed[scope]
            assert (code == "insufficient_scope") is lacks, f"{route} with {scope}: {reply.text[:200]}"
            assert code == "not_allowed" or not (route.operator and not lacks), f"{route} with {scope}"


def test_what_is_of_all_tenants_needs_the_operators_admin_key(town: Town) -> None:
    on, keys = town.on, town.operator.keys
    assert on.call("GET", "/v1/cache", keys["read"]).json()["error"]["code"] == "not_allowed"
    assert on.call("GET", "/v1/cache", keys["admin"]).status_code == 200
    read, admin = (on.call("GET", "/v1/pauses", keys[scope]).json()["data"] for scope in ("read", "admin"))
    assert [each["name"] for each in read] == [DEFAULT_TENANT]
    assert {each["name"] for each in admin} >= {DEFAULT_TENANT, "alpha", "bravo"}
    assert [each["id"] for each in on.call("GET", "/v1/tenants", keys["read"]).json()["data"]] == [
        DEFAULT_TENANT
    ]
