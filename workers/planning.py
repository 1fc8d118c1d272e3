"""Plan a batch: read its file once, check every line, store its shards, start it or fail it.

Claimed like a shard (lease and fence on the batch), so a crash is repeated safely: shard ids are derived. The
decisions are core/planner.py's; this is the reading and the writing around them. Of a retry only those lines are fed
that core/retrying.py chooses from what its lineage has recorded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from workers import metrics
from workers.core.choose import Chosen
from workers.core.errors import MissingBytes
from workers.core.identity import shard_id
from workers.core.lines import custom_id_of
from workers.core.messages import ItemError, LineProblem, Result, ShardPlan
from workers.core.planner import EMPTY_FILE, Planner, PlanRules, ShardLimits, problem_rows
from workers.core.retrying import NOTHING_LEFT, InOrder, Wanted, generation_of, lines_to_retry
from workers.core.tally import Tally
from workers.core.tenant_limits import beyond_queue
from workers.observed import OBSERVED
from workers.store.mongo import Doc
from workers.store.results import Record, record
from workers.store.shard_docs import shard_doc
from workers.store.stores import Stores

SHARDS_AT_ONCE = 20
REJECTED_AT_ONCE = 500
REJECTED_SEQ = 0
GIVE_UP_AFTER = 20
NOTHING_CHOSEN = LineProblem(NOTHING_LEFT.code, NOTHING_LEFT.message, None, None)


class PlanLost(Exception):
    """Another planner took over, or the batch ended meanwhile."""


@dataclass(frozen=True, slots=True)
class Planning:
    """Blocking: one Celery task of queue `plan` calls `plan`. `choose` is the configuration's routing."""

    stores: Stores
    owner: str
    lease_s: float
    choose: Callable[[str, str, Mapping[str, Any]], Chosen | LineProblem | None]
    has_price: Callable[[Chosen], bool]
    limits_of: Callable[[str], ShardLimits]
    max_requests: int
    max_line_bytes: int

    def plan(self, batch_id: str) -> str:
        """Bring a validating batch to in_progress or failed. Gives what became of it."""
        batch = self.stores.batches.claim_plan(batch_id, self.owner, self.lease_s)
        if batch is None:
            return "nothing to plan"
        if batch["status"] != "validating":
            self._open(batch)
            return "opened"
        if refusal := batch.get("refusal"):
            return self._fail(batch, [LineProblem(**refusal)], 1)
        if batch["plan"]["fence"] > GIVE_UP_AFTER:
            return self._fail(batch, [_unplannable(GIVE_UP_AFTER)], 1)
        if batch["plan"]["fence"] > 1:
            # An earlier planner may have cut the file elsewhere (other limits, another number of workers).
            self._forget(batch_id)
        file = self.stores.files.for_batch(batch["input_file_id"], batch["tenant"])
        if file is None:
            return self._fail(batch, [_missing_file(batch["input_file_id"], batch["tenant"])], 1)
        try:
            began = time.monotonic()
            done = self._plan_file(batch, file)
            OBSERVED.time(metrics.PLAN_SECONDS, seconds=time.monotonic() - began)
            return done
        except MissingBytes as error:
            return self._fail(batch, [_damaged_file(str(error))], 1)
        except PlanLost:
            fresh = self.stores.batches.get(batch_id)
            if fresh is None or (fresh["ending"] and fresh.get("in_progress_at") is None):
                self._forget(batch_id)
            return "lost"

    def _plan_file(self, batch: Doc, file: Doc) -> str:
        options = batch["options"]
        rules = PlanRules(
            endpoint=batch["endpoint"],
            choose=self.choose,
            has_price=self.has_price if self._is_capped(batch) else None,
            limits_of=self.limits_of,
            custom_id_at=lru_cache(1024)(lambda offset: self._custom_id_at(batch["input_file_id"], offset)),
            model=options.get("model"),
            skip_invalid=options.get("invalid_lines") == "skip",
            max_line_bytes=self.max_line_bytes,
            merge_equal=bool(options.get("cache", True)),
        )
        run = _Run(self, batch, file, Planner(rules), skip=options.get("invalid_lines") == "skip")
        run.read(self._chosen(batch))
        planner = run.planner
        if planner.total == 0:
            return self._fail(batch, [NOTHING_CHOSEN if batch.get("root_id") else EMPTY_FILE], 1)
        if planner.total > self.max_requests:
            return self._fail(batch, [_too_many(self.max_requests)], 1)
        if planner.problem_count and not run.skip:
            return self._fail(batch, planner.problems, planner.problem_count)
        run.count_rejected()
        model = next(iter(planner.models)) if len(planner.models) == 1 else None
        beyond = self._accept(batch, total=planner.total, model=model, repeats=planner.repeats)
        if beyond is not None:
            return self._fail(batch, [beyond], 1)
        self._open(batch)
        return f"{planner.total} items"

    def _accept(self, batch: Doc, **planned: Any) -> LineProblem | None:
        """Start the batch, unless its tenant may not have so many unanswered items: then gives what is wrong."""
        tenant, fence = batch["tenant"], batch["plan"]["fence"]
        most = self.stores.backlog.most(tenant)
        start = partial(self.stores.batches.start, batch["_id"], fence, **planned)
        if most is None:
            if not start():
                raise PlanLost
            return None
        with self.stores.backlog.turn(tenant, f"{self.owner}:{batch['_id']}"):
            problem = beyond_queue(self.stores.backlog.items(tenant), planned["total"], most)
            if problem is None and not start():
                raise PlanLost
        return problem

    def _chosen(self, batch: Doc) -> InOrder | None:
        """The lines a retry takes; None for a batch that takes all of the file's.

        What was before it has ended, so a second planning chooses the same.
        """
        root_id = batch.get("root_id")
        if root_id is None:
            return None
        # Its maker may have ended before it could.
        self.stores.batches.adopt(batch["parent_id"], batch["_id"])
        before = self.stores.batches.lineage(root_id, below=generation_of(batch))
        wanted = Wanted.from_doc(batch.get("retry"))
        ids = [each["_id"] for each in before]
        if not ids or ids[0] != root_id:
            return InOrder(())  # without the root's results nobody knows what failed
        rows = self.stores.looks.generations(ids, failures=True, custom_ids=bool(wanted.custom_ids))
        return InOrder(lines_to_retry(rows, wanted))

    def _is_capped(self, batch: Doc) -> bool:
        """Whether its calls need a price: under a ceiling what has none would never be called."""
        return bool(batch.get("budget")) or self.stores.accounts.cap_usd(batch["tenant"]) is not None

    def _custom_id_at(self, file_id: str, offset: int) -> str:
        return custom_id_of(self.stores.files.line_at(file_id, offset, self.max_line_bytes))

    def _open(self, batch: Doc) -> None:
        self.stores.shards.open(batch["_id"])
        self.stores.batches.opened(batch["_id"], batch["plan"]["fence"])

    def _forget(self, batch_id: str) -> None:
        """Remove what a plan stored of a batch that has not started."""
        self.stores.shards.delete_of(batch_id)
        self.stores.results.delete_of(batch_id)

    def _fail(self, batch: Doc, problems: list[LineProblem], count: int) -> str:
        if not self.stores.batches.renew_plan(batch["_id"], batch["plan"]["fence"], self.lease_s):
            return "lost"
        self._forget(batch["_id"])
        self.stores.batches.fail(batch["_id"], problem_rows(problems, count))
        return f"{count} problems"


class _Run:
    """One pass over one file."""

    def __init__(self, planning: Planning, batch: Doc, file: Doc, planner: Planner, *, skip: bool) -> None:
        self._planning, self._batch, self._file = planning, batch, file
        self.planner, self.skip = planner, skip
        self._docs: list[Doc] = []
        self._rejected: list[Record] = []
        self._tally = Tally()
        self._renewed_at = time.monotonic()

    def read(self, chosen: InOrder | None = None) -> None:
        """Feed every line, or those chosen; store shards and rejected lines as they come."""
        lines = self._planning.stores.files.lines(self._file, self._planning.max_line_bytes)
        for number, offset, raw in lines:
            if chosen is not None and not chosen.has(number):
                self._renew()  # nothing may be chosen for a long way
                continue
            closed, problem = self.planner.feed(raw, number, offset)
            if self.planner.total > self._planning.max_requests:
                return
            if problem and self.skip:
                self._reject(problem)
            if closed or len(self._rejected) >= REJECTED_AT_ONCE:
                self._keep(closed)
            self._renew()
        self._keep(self.planner.finish())
        self._flush()

    def _keep(self, plans: list[ShardPlan]) -> None:
        batch_id = self._batch["_id"]
        self._docs += [shard_doc(shard_id(batch_id, plan.seq), plan, self._batch) for plan in plans]
        if len(self._docs) >= SHARDS_AT_ONCE or len(self._rejected) >= REJECTED_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        if time.monotonic() - self._renewed_at > self._planning.lease_s / 2:
            self._renew()  # a planner that slept must not mix its shards with its successor's
        self._planning.stores.shards.insert_missing(self._docs)
        self._planning.stores.results.insert(self._rejected)
        self._docs.clear()
        self._rejected.clear()

    def _renew(self) -> None:
        if time.monotonic() - self._renewed_at < self._planning.lease_s / 3:
            return
        self._renewed_at = time.monotonic()
        fence = self._batch["plan"]["fence"]
        if not self._planning.stores.batches.renew_plan(self._batch["_id"], fence, self._planning.lease_s):
            raise PlanLost

    def _reject(self, problem: LineProblem) -> None:
        """A bad line of a batch that skips them ends in the error file, counted as failed."""
        error = ItemError(problem.code, problem.message)
        result = Result(problem.line or 0, problem.custom_id or "", "none", error=error)
        row = record(self._batch["_id"], self._batch["tenant"], self.rejected_id, 0, result)
        self._tally.add(result, row.line_bytes)
        self._rejected.append(row)

    @property
    def rejected_id(self) -> str:
        """The shard under which rejected lines are counted; it is done from the start."""
        return shard_id(self._batch["_id"], REJECTED_SEQ)

    def count_rejected(self) -> None:
        """Store the rejected lines' counts where the batch's sum finds them."""
        if self._tally.recorded:
            doc = shard_doc(self.rejected_id, ShardPlan(REJECTED_SEQ, "", (), 0, 0), self._batch)
            done = {"status": "done", "counts": self._tally.as_dict(), "size": self._tally.recorded}
            self._planning.stores.shards.insert_missing([doc | done])


def _missing_file(file_id: str, tenant: str) -> LineProblem:
    text = f"Cannot find file {file_id}, or organization {tenant} does not have access to it."
    return LineProblem("invalid_request", text, "file_id", None)


def _damaged_file(what: str) -> LineProblem:
    return LineProblem("invalid_request", f"The input file cannot be read whole: {what}.", "file_id", None)


def _unplannable(tries: int) -> LineProblem:
    text = f"The file could not be checked: the worker that tried ended {tries} times."
    return LineProblem("internal_error", text, "file_id", None)


def _too_many(limit: int) -> LineProblem:
    text = f"The file has more than {limit} requests, the limit of this server (setting api.max_requests)."
    return LineProblem("too_many_requests_in_file", text, None, limit + 1)
