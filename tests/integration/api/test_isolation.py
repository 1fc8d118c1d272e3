"""Tenants do not know of each other, whatever route they take: another one's id is the same as one that never was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.estates import SCOPES, Estate, ground, lookup_body
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
    unknown_fields,
)
from tests.support.servers import TestServers
from tests.support.town import KEYED, NO_LISTS, Town, attacked, hold_to_its_own
from workers.store.tenants import DEFAULT_TENANT

pytestmark = pytest.mark.integration


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
    hold_to_its_own(town, examples=20)


def test_no_route_does_anything_without_a_key(town: Town) -> None:
    for route in http_routes():
        if route.path in NO_LISTS:
            continue
        reply = Call(route, path_of(route, town.alpha), body=body_of(route, town.alpha)).sent(town.on, None)
        assert (reply.status_code == 401) is route.path.startswith(KEYED), (
            f"{route} answers {reply.status_code}"
        )


def needed(method: str, path: str) -> tuple[str, bool]:
    """The scope a route asks for, and whether its key must be the operator's: reads read, changes submit, and what
    settles who may do what, or may stop everybody, is for admins."""
    area = path.split("/")[2]
    if path.startswith("/analytics/"):
        return "admin", True
    if area == "tenants" and method == "POST" and path == "/v1/tenants":
        return "admin", True
    if (area == "tenants" and method == "DELETE") or area in ("top", "admin"):
        return "admin", True
    if area in ("webhooks", "webhook_endpoints", "webhook_event_types", "keys") or (
        area in ("tenants", "providers") and method != "GET"
    ):
        return "admin", False
    if area == "cache" and method == "DELETE":
        return "admin", False
    return ("read" if method == "GET" or path == "/v1/cache/lookup" else "submit"), False


def test_every_route_asks_for_the_scope_of_what_it_does() -> None:
    routes = [route for route in http_routes() if route.path.startswith(KEYED)]
    wrong = {
        str(route): (route.scope, route.operator)
        for route in routes
        if (route.scope, route.operator) != needed(route.method, route.path)
    }
    assert wrong == {}


def test_a_key_of_one_scope_may_do_what_that_scope_allows(town: Town) -> None:
    # That an admin may do everything, the other tests use.
    allowed = {"read": {"read"}, "submit": {"submit"}, "admin": set(SCOPES)}
    for route in http_routes():
        if route.scope is None:
            continue
        ids = {name: never(town.alpha.ids[c][0]) for name, c in route.in_path.items() if c not in NOBODYS}
        call = Call(route, path_of(route, town.alpha, **ids), body={"unknown": 1})
        for scope in SCOPES if route.operator else SCOPES[:2]:
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
    assert {each["name"] for each in admin} >= {DEFAULT_TENANT, "bravo"}
    assert [each["id"] for each in on.call("GET", "/v1/tenants", keys["read"]).json()["data"]] == [
        DEFAULT_TENANT
    ]
