"""Which providers one worker process serves. Pure.

By default every worker serves every provider. With one worker a provider (docker-compose.yml) each has limits, replicas
and a drain of its own, and a slow provider takes no thread from the others.
"""

from __future__ import annotations

from collections.abc import Iterable


def served(names: Iterable[str], wish: str | None) -> tuple[str, ...]:
    """Those of the configured providers that the setting `worker.providers` leaves, in their order.

    Args:
        wish: names with commas between them; one with a minus before it is left out. None or minuses alone: all else.
    """
    wanted = _words(wish)
    out = {word[1:] for word in wanted if word.startswith("-")}
    only = {word for word in wanted if not word.startswith("-")}
    return tuple(name for name in names if name not in out and (not only or name in only))


def strangers(names: Iterable[str], wish: str | None) -> tuple[str, ...]:
    """The names in `wish` to be served that no configured provider has: slips, or providers without a key."""
    known = set(names)
    return tuple(word for word in _words(wish) if not word.startswith("-") and word not in known)


def _words(wish: str | None) -> tuple[str, ...]:
    return tuple(word.strip() for word in (wish or "").split(",") if word.strip())
