"""What to do with a shard whose workers keep dying: halve it until one item is left, then condemn that item.

For n items: at most log2(n) + 3 splits deep; the item left is condemned at its fourth take-over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workers.core.messages import Item, ItemError, Result

SUSPECT_AFTER = 2
# More than one bad day: an item is condemned only when nothing else can have killed so many of its workers.
CONDEMN_AFTER = 4


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
    text = "every worker that tried this request ended while it ran"
    return Result(line, custom_id, "none", error=ItemError("worker_crash", text))
