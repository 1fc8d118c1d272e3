"""What must hold after every run, whatever was broken: the invariants of the fault list.

    I1 every accepted item is recorded, in a final state      I5 every process stays under its memory bound
    I2 exactly one result an item                             I6 no limit is passed in any minute
    I3 each result equals f(prompt)                           I7 back to work within lease + sweep + 10 s
    I4 excess calls <= those in flight at the faults,         I8 no byte of one tenant reaches another
       and reported, never less than the simulator saw

The tenants' logs of accepted batches and the simulator's call log are the evidence.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tests.chaos.arena import Arena
from tests.chaos.client import Submitted, Tenant

Doc = dict[str, Any]
_BURST = 1.1
_WINDOW_S = 60.0
# Everything that can be read of a batch or a file.
_OF_BATCH = tuple(f"/v1/batches/{{}}{view}" for view in ("", "/why", "/output", "/items"))
_OF_FILE = ("/v1/files/{}", "/v1/files/{}/content")
# Within which an answer is recorded, on a machine that is busy.
_RECORDED_S = 2.0
# Within which what was on its way at a fault reaches a provider that is busy, which notes its coming only then.
_ARRIVES_S = 1.0
# What spoils an answer, in the words of the simulator and of odd_provider.py.
_NONSENSE = frozenset({"truncated", "invalid-json", "empty", "html", "nonsense"})


@dataclass(frozen=True)
class Expected:
    """What a row allows.

    Attributes:
        max_excess: calls that may have been repeated, all faults together; None: as many as were reported.
        errors: codes that items may end with.
        requests_per_minute: the limit to be kept, if there is one.
        recovery_s: within which work goes on, where the list of faults names another time than I7.
        recovers: whether work was under way at the last fault, which the oracle then insists on, so that the time back
            to work can be told.
    """

    max_excess: int | None = None
    errors: frozenset[str] = frozenset()
    requests_per_minute: int | None = None
    recovery_s: float | None = None
    recovers: bool = True


@dataclass
class Finding:
    """What the oracle saw; `broken` has a sentence for each invariant that does not hold."""

    accepted: int = 0
    recorded: int = 0
    excess_seen: int = 0
    excess_reported: int = 0
    recovery_s: float | None = None
    peak_mb: float = 0.0
    broken: list[str] = field(default_factory=list)


def judge(arena: Arena, expected: Expected) -> Finding:
    """Look at everything once all batches have ended."""
    found = Finding(accepted=arena.accepted(), peak_mb=arena.memory.worst)
    for tenant in arena.tenants.values():
        ids = [_judge_batch(tenant, batch, expected, found) for batch in tenant.submitted]
        found.broken += _foreign(arena, tenant, ids)
    stored = arena.db["batch_results"].count_documents({})
    if stored != found.recorded:
        found.broken.append(f"I2: {stored} results in the database, {found.recorded} in the files")
    found.broken += _left_behind(arena)
    _judge_calls(arena, expected, found)
    found.broken += [f"I5: {line}" for line in arena.memory.over()]
    if expected.recovers and arena.hits:
        _judge_recovery(arena, found, expected.recovery_s or arena.rules.recovery_s)
    return found


def _judge_batch(tenant: Tenant, batch: Submitted, expected: Expected, found: Finding) -> Sequence[str]:
    """Gives the ids of the batch and of its files."""
    shown = tenant.batch(batch.id)
    good, bad = tenant.rows(shown["output_file_id"]), tenant.rows(shown["error_file_id"])
    found.recorded += len(good) + len(bad)
    found.excess_reported += shown["batchwright"]["excess_calls"]
    times = Counter(row["custom_id"] for row in (*good, *bad))
    if missing := batch.prompts.keys() - times.keys():
        found.broken.append(f"I1: {batch.id} lacks {len(missing)} of {len(batch)}, such as {min(missing)}")
    if unknown := times.keys() - batch.prompts.keys():
        found.broken.append(f"I8: {batch.id} holds {len(unknown)} lines of others, such as {min(unknown)}")
    if twice := [name for name, number in times.items() if number > 1]:
        found.broken.append(f"I2: {batch.id} has {len(twice)} items twice, such as {min(twice)}")
    wrong = [
        row["custom_id"] for row in good if _text(row) != tenant.answer_to(batch.prompts[row["custom_id"]])
    ]
    if wrong:
        found.broken.append(f"I3: {batch.id} has {len(wrong)} wrong answers, such as {min(wrong)}")
    if codes := Counter(map(_code, bad)).keys() - expected.errors:
        found.broken.append(f"I1: {batch.id} has errors {sorted(codes)}, such as {_first(bad, codes)}")
    counts = shown["request_counts"]
    if counts["total"] != len(batch) or counts["completed"] != len(good):
        found.broken.append(f"I1: {batch.id} shows {counts}, its files have {len(good)} and {len(bad)} lines")
    files = (shown[name] for name in ("input_file_id", "output_file_id", "error_file_id"))
    return (batch.id, *filter(None, files))


def _foreign(arena: Arena, tenant: Tenant, ids: Iterable[Sequence[str]]) -> list[str]:
    """What another tenant may read of these, or finds in its lists."""
    other = next((each for each in arena.tenants.values() if each is not tenant), None)
    if other is None:
        return []
    known = {each for one in ids for each in one}
    views = ((each, _OF_BATCH if each.startswith("batch_") else _OF_FILE) for each in known)
    paths = [view.format(each) for each, of_it in views for view in of_it]
    open_to = [path for path, status in other.statuses(paths).items() if status != 404]
    lists = [other.insist("GET", f"/v1/{kind}?limit=100")["data"] for kind in ("batches", "files")]
    open_to += [row["id"] for rows in lists for row in rows if row["id"] in known]
    return [f"I8: {other.name} may read {each} of {tenant.name}" for each in open_to]


def _left_behind(arena: Arena) -> list[str]:
    found = []
    held = arena.db["batch_shards"].count_documents({"status": {"$nin": ["done", "closed"]}})
    if held:
        found.append(f"I1: {held} shards have not ended")
    with arena.control() as control:
        evicted = control.info("stats")["evicted_keys"]
    if evicted:
        found.append(f"control Redis has evicted {evicted} keys")
    return found


def _judge_calls(arena: Arena, expected: Expected, found: Finding) -> None:
    # A call that got no status, or a success: whoever made it may have to pay. Refusals are attempts, and so is
    # what got nonsense for an answer.
    paid = Counter(call["prompt_hash"] for call in arena.calls() if _may_be_paid(call))
    found.excess_seen = sum(number - 1 for number in paid.values())
    if found.excess_seen > found.excess_reported:
        found.broken.append(f"I4: {found.excess_seen} calls repeated, only {found.excess_reported} reported")
    if arena.hits and (odd := _unexplained(arena)):
        found.broken.append(f"I4: {odd} calls repeated that were in flight at no fault")
    if expected.max_excess is not None and found.excess_seen > expected.max_excess:
        found.broken.append(f"I4: {found.excess_seen} calls repeated, at most {expected.max_excess} allowed")
    if expected.requests_per_minute is not None:
        most = most_in_a_window((call["time"] for call in arena.calls()), _WINDOW_S)
        if most > expected.requests_per_minute * _BURST:
            found.broken.append(f"I6: {most} calls in a minute, the limit is {expected.requests_per_minute}")


def _unexplained(arena: Arena) -> int:
    """Repeats of calls that had been answered, and recorded, before any fault, or that were made after all of them."""
    calls: dict[str, list[Doc]] = {}
    for call in arena.calls():
        if _may_be_paid(call):
            calls.setdefault(call["prompt_hash"], []).append(call)
    faults = [(hit.at, hit.healed_at or hit.at) for hit in arena.hits]

    def in_flight_at_one(call: Doc, again: Doc) -> bool:
        begun, recorded = call["time"], call["time"] + call["duration_ms"] / 1000 + _RECORDED_S
        return any(
            at <= min(recorded, again["time"]) and begun <= healed_at + _ARRIVES_S for at, healed_at in faults
        )

    return sum(
        call["status"] != 0 and not in_flight_at_one(call, again)
        for one in calls.values()
        for call, again in pairwise(sorted(one, key=lambda call: float(call["time"])))
    )


def _may_be_paid(call: Doc) -> bool:
    return call["status"] == 0 or (call["status"] == 200 and call["fault"] not in _NONSENSE)


def _judge_recovery(arena: Arena, found: Finding, limit_s: float) -> None:
    times, hits = arena.record_times(arena.hits[0].at), arena.hits
    for hit, following in zip(hits, (*hits[1:], None), strict=True):
        healed_at = hit.healed_at or hit.at
        back_s = next((at - healed_at for at in times[bisect_right(times, healed_at) :][:1]), None)
        # One that came sooner says nothing about this one.
        told = following is None or following.at > healed_at + limit_s
        if told and back_s is not None and back_s > limit_s:
            found.broken.append(f"I7: back to work {back_s:.1f} s after {hit.name}, over {limit_s:g} s")
    if not times or times[-1] <= hits[-1].at:
        found.broken.append(f"I7: there was nothing left to do when it came: {hits[-1].name}")
    found.recovery_s = back_s


def most_in_a_window(times: Iterable[float], window_s: float) -> int:
    """The largest number of events in any stretch of that length."""
    ordered: Sequence[float] = sorted(times)
    most, first = 0, 0
    for last, time in enumerate(ordered):
        while time - ordered[first] > window_s:
            first += 1
        most = max(most, last - first + 1)
    return most


def _text(row: Doc) -> str:
    return str(row["response"]["body"]["choices"][0]["message"]["content"])


def _code(row: Doc) -> str:
    if row["error"] is not None:
        return str(row["error"]["code"])
    error = row["response"]["body"].get("error") or {}
    return str(error.get("code") or error.get("type") or row["response"]["status_code"])


def _first(rows: list[Doc], codes: Iterable[str]) -> str:
    wanted = set(codes)
    return str(next(row for row in rows if _code(row) in wanted))[:300]
