"""Give items of a shard to other providers: each parcel is a shard of its own, on its provider's queue. Pure.

The parent says first what has moved (`parts`, Shards.move_out), then the children are inserted (child_docs). A
child knows which providers have had its items (`tried`): none of them gets them again, so a chain of hand-overs
ends after as many as there are providers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workers.core.choose import Chosen
from workers.core.history import NO_HISTORY, History

# What a child's document has of its part, and leaves to the children it may be split into.
INHERITED = ("tried", "model", "warnings")


def tried(doc: Mapping[str, Any]) -> frozenset[str]:
    """The providers that must not get the items of this shard (again): its own, and those before it."""
    return frozenset((*doc.get("tried", ()), doc["provider"]))


def chosen_of(doc: Mapping[str, Any]) -> Chosen | None:
    """Who answers the items of a shard that was handed over, and under which name; None for any other shard."""
    if "model" not in doc:
        return None
    return Chosen(doc["provider"], doc["model"], tuple(doc.get("warnings", ())))


def parts(
    doc: Mapping[str, Any], moving: Mapping[int, Chosen], histories: Mapping[int, History]
) -> list[dict[str, Any]]:
    """The parent's `moved` entries, one for each provider and model. Repeating derives the same ones.

    A child's id is its parent's, the provider and its first line, since a line leaves a parent once; a half of a
    split shard (core/poison.py) has the line alone.

    Args:
        doc: the parent's document.
        moving: who is to answer, by line.
        histories: what the lines have been through; their counts of attempts begin anew.
    Raises: ValueError for a provider that has had the item, which is our bug.
    """
    had = tried(doc)
    lines_of: dict[Chosen, list[int]] = {}
    for line in sorted(moving):
        if moving[line].provider in had:
            raise ValueError(f"line {line} was at {moving[line].provider} before")
        lines_of.setdefault(moving[line], []).append(line)
    return [_part(doc, chosen, lines, histories) for chosen, lines in lines_of.items()]


def _part(
    doc: Mapping[str, Any], chosen: Chosen, lines: Sequence[int], histories: Mapping[int, History]
) -> dict[str, Any]:
    kept = {line: histories.get(line, NO_HISTORY).elsewhere().to_doc() for line in lines}
    part = {
        "child_id": f"{doc['_id']}.{chosen.provider}.{lines[0]}",
        "provider": chosen.provider,
        "model": chosen.model,
        "lines": list(lines),
        "tried": [*doc.get("tried", ()), doc["provider"]],
        "attempts": {str(line): history for line, history in kept.items() if history},
    }
    return part | ({"warnings": list(chosen.warnings)} if chosen.warnings else {})
