"""Two tenants before one API: what one of them sees and changes while it asks for everything of the other's."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.estates import Estate, Ground, settle
from tests.support.isolation import NOBODYS, Call, attacks, body_of, http_routes, never, path_of, seen
from workers.store.tenants import DEFAULT_TENANT

# What wants a key.
KEYED = ("/v1/", "/analytics/", "/ai/")
# What is asked of the server itself is no list, nor is what Prometheus is told of the whole installation.
NO_LISTS = ("/health", "/ready", "/metrics", "/metrics/targets", "/docs", "/openapi.json")


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
        for word in [besides, *(said for said in self.said if self.bravo.mark in said)]:
            text = text.replace(word, "") if word else text
        return sorted(each for each in names if each in text)

    def check_unchanged(self) -> None:
        """Bravo has what it had; what names it besides is the attackers' own."""
        has = self.on.belonging(self.bravo)
        assert {name: has.get(name) for name in self.had} == self.had
        more = [doc for name, doc in has.items() if name not in self.had]
        assert {doc["tenant"] for doc in more} <= {self.alpha.tenant, self.operator.tenant}


def attacked(
    town: Town, attacker: Estate, key: str, *, most: int, only: tuple[str, ...] | None = None
) -> None:
    """Name what is bravo's, then as often what never was; the replies, and bravo's documents, are the same.

    Args:
        most: so many objects of each kind.
        only: the first segments of the paths that are called; None: all.
    """
    theirs = attacks(attacker, lambda collection: town.bravo.ids[collection][:most])
    nobodys = attacks(attacker, lambda collection: [never(id_) for id_ in town.bravo.ids[collection][:most]])
    for call, empty in zip(theirs, nobodys, strict=True):
        if only is not None and call.path.split("/")[2] not in only:
            continue
        reply = call.sent(town.on, key)
        assert not town.tells_of_bravo(reply.text, call.about), f"{call} tells of another tenant"
        assert seen(reply, call.about) == seen(empty.sent(town.on, key), empty.about), str(call)
    town.check_unchanged()


def hold_to_its_own(town: Town, *, examples: int) -> None:
    """Any calls of alpha's with ids of either tenant: what is bravo's is refused, told to nobody and left as it is."""
    routes = [route for route in http_routes() if route.path.startswith(KEYED)]
    either = st.sampled_from([town.bravo, town.bravo, town.alpha])

    @settings(max_examples=examples)
    @given(data=st.data())
    def law(data: st.DataObject) -> None:
        route = routes[data.draw(st.integers(0, len(routes) - 1))]
        named = {name: c for name, c in route.in_path.items() if c not in NOBODYS}
        owners = {name: data.draw(either) for name in named}
        ids = {name: data.draw(st.sampled_from(owners[name].ids[named[name]])) for name in named}
        town.said.update(ids.values())
        query = {"follow": "false"} if "follow" in route.in_query else {}
        path = path_of(route, town.alpha, **ids)
        call = Call(route, path, query=query, body=body_of(route, town.alpha))
        reply = call.sent(town.on, town.alpha.keys["admin"])
        assert town.bravo not in owners.values() or reply.status_code in (403, 404), str(call)
        assert not town.tells_of_bravo(reply.text), str(call)

    law()
    town.check_unchanged()
