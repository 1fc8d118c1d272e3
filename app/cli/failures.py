"""Why items failed: the lines of an error file, counted by reason. Pure, in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from app.cli.words import one_line
from app.client.jsonl import Result, result_from
from workers.core.messages import NEVER_RAN_CODES

# Messages may carry ids and so be all different; beyond this many kinds the code alone counts.
_KINDS = 200


@dataclass(frozen=True, slots=True)
class Failure:
    """One reason and how many items met it; `text` is its first message."""

    count: int
    text: str


def count_failures(lines: Iterable[bytes]) -> tuple[Failure, ...]:
    """Sort the lines of an error file by reason, the most frequent first."""
    counts: Counter[str] = Counter()
    for line in lines:
        result = result_from(line)
        if result.code in NEVER_RAN_CODES:
            continue  # they are counted apart, and nothing is wrong with them
        text = reason(result)
        if text not in counts and len(counts) >= _KINDS:
            text = "other reasons"
        counts[text] += 1
    return tuple(Failure(number, text) for text, number in counts.most_common())


def reason(result: Result) -> str:
    """Why one item failed, in one line."""
    message = one_line(result.error or "no reason given", 200)
    by_provider = result.status_code is not None and result.status_code >= 400
    status = f"status {result.status_code}" if by_provider else result.code or "error"
    return f"{status}: {message}"
