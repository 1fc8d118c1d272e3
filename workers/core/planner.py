"""Cut a stream of input lines into shards, and find every reason to refuse the file.

planning.py feeds the lines of a file in order and stores what comes out; this module never sees the file.
Memory per line: two entries in flat hash indexes and, until its shard closes, one `Item`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from workers.core.choose import Chosen
from workers.core.hashindex import HashIndex
from workers.core.identity import canonical, hash64
from workers.core.lines import check_line
from workers.core.media import media_problem
from workers.core.messages import InputLine, Item, LineProblem, ShardPlan
from workers.core.rate import estimate_tokens

FEWEST_ITEMS = 10
MAX_PROBLEMS = 100
# Who used a custom_id first, in one number: 30 bits of line (a billion), 34 bits of offset (17 GB).
_OFFSET_BITS = 34
_OFFSET_MASK = (1 << _OFFSET_BITS) - 1
EMPTY_FILE = LineProblem(
    "empty_file",
    "The input file is empty. Please ensure that the batch contains at least one request.",
    None,
    None,
)


@dataclass(frozen=True, slots=True)
class ShardLimits:
    """When a shard closes; whichever comes first. `max_items` differs by provider (its rate)."""

    max_items: int
    max_line_bytes: int
    max_span_bytes: int


@dataclass(frozen=True, slots=True)
class PlanRules:
    """What the planner must know of the batch.

    Attributes:
        choose: who answers (endpoint, model, body), None when nobody does, or what is wrong with our own fields.
        has_price: None without a money ceiling; else whether anybody knows what the chosen model costs.
        limits_of: a provider's shard limits.
        custom_id_at: the custom_id of the line that begins at an offset: equal fingerprints are only a suspicion.
        model: overrides every line's model; None leaves them.
        max_problems: how many are kept with their words; the rest are counted.
    """

    endpoint: str
    choose: Callable[[str, str, Mapping[str, Any]], Chosen | LineProblem | None]
    limits_of: Callable[[str], ShardLimits]
    custom_id_at: Callable[[int], str]
    model: str | None = None
    merge_equal: bool = True
    skip_invalid: bool = False
    max_line_bytes: int = 1 << 20
    has_price: Callable[[Chosen], bool] | None = None
    max_problems: int = MAX_PROBLEMS


@dataclass(slots=True)
class _Open:
    items: list[Item] = field(default_factory=list)
    est_tokens: int = 0
    bytes: int = 0


class Planner:
    """One pass over a file: `feed` every line, then `finish`; shards come out as they close."""

    def __init__(self, rules: PlanRules) -> None:
        self._rules = rules
        self._open: dict[str, _Open] = {}
        self._ids, self._requests = HashIndex(), HashIndex()
        self._seq = 0
        self.total = 0
        self.repeats = 0
        self.problem_count = 0
        self.problems: list[LineProblem] = []
        self.models: dict[str, int] = {}
        self.chosen: Counter[Chosen] = Counter()

    def feed(self, raw: bytes, line: int, offset: int) -> tuple[list[ShardPlan], LineProblem | None]:
        """Take one line; gives the shards it closed and what is wrong with it, if anything."""
        self.total += 1
        checked = self._check(raw, line, offset)
        if isinstance(checked, LineProblem):
            self.problem_count += 1
            if len(self.problems) < self._rules.max_problems:
                self.problems.append(checked)
            return [], checked
        asked, chosen = checked
        self.models[asked.model] = self.models.get(asked.model, 0) + 1
        self.chosen[chosen] += 1
        item = Item(line, offset, len(raw), self._twin(asked, line))
        return self._add(chosen.provider, item, asked), None

    def finish(self) -> list[ShardPlan]:
        """The shards that were still open."""
        return [self._close(provider) for provider in list(self._open)]

    def _check(self, raw: bytes, line: int, offset: int) -> tuple[InputLine, Chosen] | LineProblem:
        if len(raw) > self._rules.max_line_bytes:
            text = (
                f"This line is longer than {self._rules.max_line_bytes} bytes (setting batch.max_line_bytes)."
            )
            return LineProblem("line_too_long", text, None, line)
        checked = check_line(raw, line, self._rules.endpoint, model=self._rules.model)
        if isinstance(checked, LineProblem):
            if checked.custom_id and checked.param != "custom_id":
                self._first_use(checked.custom_id, line, offset)
            return checked
        # A line that is bad has used its custom_id, too: a retry with another model may make it good.
        first_use = self._first_use(checked.custom_id, line, offset)
        wrong = media_problem(checked.body)
        if wrong is not None:
            return LineProblem(wrong.code, wrong.message, wrong.param, line, checked.custom_id)
        chosen = self._choose(checked, line)
        if isinstance(chosen, LineProblem):
            return chosen
        return self._duplicate(checked, line, first_use) or (checked, chosen)

    def _choose(self, checked: InputLine, line: int) -> Chosen | LineProblem:
        chosen = self._rules.choose(checked.url, checked.model, checked.body)
        if isinstance(chosen, LineProblem):
            return replace(chosen, line=line, custom_id=checked.custom_id)
        if chosen is None:
            text = f"The provided model '{checked.model}' is not supported by the Batch API."
            return LineProblem("model_not_found", text, "body.model", line, checked.custom_id)
        if self._rules.has_price is not None and not self._rules.has_price(chosen):
            text = (
                f"Nobody knows the price of '{chosen.model}', so max_cost_usd cannot be kept; "
                f'set it in [prices."{chosen.model}"].'
            )
            return LineProblem("unknown_price", text, "body.model", line, checked.custom_id)
        return chosen

    def _first_use(self, custom_id: str, line: int, offset: int) -> int:
        """The note of the line that seems to have used it before; 0 if none has, and now this one does."""
        fingerprint = hash64(custom_id.encode("utf-8", "surrogatepass"))
        return self._ids.first(fingerprint, line << _OFFSET_BITS | offset)

    def _duplicate(self, checked: InputLine, line: int, first_use: int) -> LineProblem | None:
        if not first_use:
            return None
        first_line, first_offset = first_use >> _OFFSET_BITS, first_use & _OFFSET_MASK
        # Past the problems that are shown, an equal fingerprint is believed where the file is refused anyhow.
        must_be_sure = self._rules.skip_invalid or len(self.problems) < self._rules.max_problems
        if must_be_sure and self._rules.custom_id_at(first_offset) != checked.custom_id:
            return None
        text = f"custom_id {checked.custom_id[:64]!r} was already used on line {first_line}."
        return LineProblem("duplicate_custom_id", text, "custom_id", line, checked.custom_id)

    def _twin(self, checked: InputLine, line: int) -> int:
        if not self._rules.merge_equal:
            return 0
        body = {key: value for key, value in checked.body.items() if key != "model"}
        twin = self._requests.first(hash64(checked.model.encode() + b"\0" + canonical(body)), line)
        self.repeats += twin > 0
        return twin

    def _add(self, provider: str, item: Item, checked: InputLine) -> list[ShardPlan]:
        limits = self._rules.limits_of(provider)
        closed = []
        current = self._open.get(provider)
        if current and (
            current.bytes + item.length > limits.max_line_bytes
            or item.offset + item.length - current.items[0].offset > limits.max_span_bytes
        ):
            closed.append(self._close(provider))
        current = self._open.setdefault(provider, _Open())
        current.items.append(item)
        current.bytes += item.length
        current.est_tokens += estimate_tokens(item.length, checked.body, checked.url)
        if len(current.items) >= limits.max_items:
            closed.append(self._close(provider))
        return closed

    def _close(self, provider: str) -> ShardPlan:
        done = self._open.pop(provider)
        self._seq += 1
        return ShardPlan(self._seq, provider, tuple(done.items), done.est_tokens, done.bytes)


def shard_limits(
    *,
    max_items: int,
    max_line_bytes: int,
    max_span_bytes: int,
    slot_seconds: float,
    requests_per_minute: int | None,
) -> ShardLimits:
    """A provider's shard limits: at most `slot_seconds` of the provider's rate, but never a handful of items.

    Without that bound a 500-item shard at 600 requests a minute would keep others waiting for 50 seconds. The
    dispatcher sends off only as many as the rate needs (core/fairness.py), so they need not be as small as a slot's
    share of it: shards of one item cost more than their calls.
    """
    if requests_per_minute is not None:
        max_items = min(max_items, max(FEWEST_ITEMS, int(requests_per_minute / 60.0 * slot_seconds)))
    return ShardLimits(max_items, max_line_bytes, max_span_bytes)


def problem_rows(problems: list[LineProblem], total_problems: int) -> list[Mapping[str, object]]:
    """`errors.data` of a failed batch: in file order, the first hundred and a summary of the rest."""
    ordered = sorted(problems, key=lambda problem: problem.line or 0)[:MAX_PROBLEMS]
    rows: list[Mapping[str, object]] = [
        {"code": p.code, "message": p.message, "param": p.param, "line": p.line} for p in ordered
    ]
    if total_problems > len(rows):
        text = f"{total_problems - len(rows)} more lines have errors; these are the first {len(rows)}."
        rows.append({"code": "more_errors", "message": text, "param": None, "line": None})
    return rows
