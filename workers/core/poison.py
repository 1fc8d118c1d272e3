"""What to do with a shard whose workers keep dying: halve it until one item is left, then condemn that item.

For n items: at most log2(n) + 3 splits deep; the item left is condemned at its fourth take-over. A worker that dies
takes all its shards with it, so suspects run one at a time in a process: one death then says something of one alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workers.core.messages import Item, ItemError, Result

SUSPECT_AFTER = 2
# More than one bad day: an item is condemned only when nothing else can have killed so many of its workers.
CONDEMN_AFTER = 4
FIRST_REST_S = 5.0
LONGEST_REST_S = 60.0
# How long a suspect rests before it asks again whether another one is still on trial.
TURN_S = 1.0


@dataclass(frozen=True, slots=True)
class Split:
    """Give each half to a child shard."""

    halves: tuple[tuple[Item, ...], ...]


@dataclass(frozen=True, slots=True)
class Condemn:
    """The one item left has killed its workers: it ends as an error."""


def decide(takeovers: int, items: Sequence[Item]) -> Split | Condemn | None:
    """Judge a shard by how often its worker vanished.

    Args:
        takeovers: leases of this shard that ran out without a word; a child starts one short of suspicion.
        items: what is not recorded yet.
    """
    if takeovers < SUSPECT_AFTER or not items:
        return None
    if len(items) == 1:
        return Condemn() if takeovers >= CONDEMN_AFTER else None
    middle = len(items) // 2
    return Split((tuple(items[:middle]), tuple(items[middle:])))


def is_suspect(takeovers: int, *, is_child: bool) -> bool:
    """Whether a shard runs as the only one of its kind in its process.

    Args:
        is_child: it is a part of another shard; one that begins with losses was split for them.
    """
    return takeovers >= SUSPECT_AFTER or (is_child and takeovers > 0)


def rest_s(takeovers: int) -> float:
    """How long a shard rests whose run broke inside the engine, after so many losses before.

    Whatever it was may be over by then; items must not be condemned within a bad second.
    """
    return float(min(LONGEST_REST_S, FIRST_REST_S * 2.0 ** min(takeovers, 10)))


def parts(doc: Mapping[str, Any], step: Split) -> list[dict[str, Any]]:
    """The parent's `moved` entries; child ids derive from the parent's and the lines, so repeating is harmless.

    The halves of a shard that was handed over stay so: what they do not say, they have of their parent.
    """
    return [
        {
            "child_id": f"{doc['_id']}.{half[0].line}",
            "provider": doc["provider"],
            "lines": [item.line for item in half],
            "takeovers": SUSPECT_AFTER - 1,
        }
        for half in step.halves
    ]


def result(line: int, custom_id: str) -> Result:
    """The final error of a condemned item."""
    text = "every worker that tried this request broke or ended while it ran"
    return Result(line, custom_id, "none", error=ItemError("worker_crash", text))
