"""Choose for one fixed set of offers, once for equal wishes: a file of 50,000 lines holds a handful of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from config.catalog import Catalog
from workers.core.choose import AUTO, OWN_FIELDS, Chosen, Wanted, choose, read_wanted
from workers.core.elsewhere import choose_elsewhere
from workers.core.messages import LineProblem
from workers.core.needs import needs_of
from workers.core.route import Offer

_MEMO_SIZE = 4096
_UNASKED: Literal[""] = ""


class Chooser:
    """Who answers a request, by what is configured and what the catalogue says of it."""

    def __init__(self, offers: Sequence[Offer], catalog: Catalog) -> None:
        """`offers` in the order of asking."""
        self.offers, self.catalog = tuple(offers), catalog
        self._chosen: dict[Wanted, Chosen | None] = {}
        self._plain: dict[tuple[str, str], Chosen] = {}
        self._elsewhere: dict[tuple[Wanted, frozenset[str]], Chosen | None] = {}

    def choose(self, endpoint: str, model: str, body: Mapping[str, Any]) -> Chosen | LineProblem | None:
        """The one who answers; None when nobody does, a problem (without its line) when our own fields are wrong."""
        plain = model != AUTO and OWN_FIELDS.isdisjoint(body)
        if plain and (known := self._plain.get((endpoint, model))) is not None:
            return known  # nearly every request: nothing but its model decides
        wanted = read_wanted(endpoint, model, body, self.catalog)
        if isinstance(wanted, LineProblem):
            return wanted
        found = self._chosen.get(wanted, _UNASKED)
        if isinstance(found, str):
            if len(self._chosen) >= _MEMO_SIZE:  # names come from users: there is no end of them
                self._chosen.clear()
                self._plain.clear()
            # Plans run on threads of their own: another one may clear what was just written.
            found = self._chosen[wanted] = choose(wanted, self.offers, self.catalog)
        if plain and found is not None:
            self._plain[endpoint, model] = found
        return found

    def elsewhere(
        self, endpoint: str, model: str, body: Mapping[str, Any], *, without: frozenset[str]
    ) -> Chosen | None:
        """Who answers the same request after the providers that had it (`without`); None when nobody is left.

        `model` and `body` as the user wrote them, our own fields included: they say what else would do.
        """
        wanted = read_wanted(endpoint, model, body, self.catalog)
        if isinstance(wanted, LineProblem):
            return None
        wanted = replace(wanted, needs=needs_of(endpoint, body))
        found = self._elsewhere.get((wanted, without), _UNASKED)
        if isinstance(found, str):
            if len(self._elsewhere) >= _MEMO_SIZE:
                self._elsewhere.clear()
            found = choose_elsewhere(wanted, self.offers, self.catalog, without=without)
            self._elsewhere[wanted, without] = found
        return found
