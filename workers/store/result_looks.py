"""Looks at recorded results (`batch_results`): pages by filter, failures by kind, and several batches as one.

results.py writes what is read here. Failures are found by the partial index on `ok` (mongo.py), which holds them alone,
with all that they are counted and chosen by; what is asked of successes is a range of `_id`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
from pymongo.errors import ExecutionTimeout

from workers.core.errors import MissingBytes
from workers.core.identity import batch_of, line_of, result_id
from workers.core.messages import NEVER_RAN_CODES, Result
from workers.core.retrying import Row, code_of, settled
from workers.core.wire import output_line
from workers.store.mongo import Db, Doc
from workers.store.results import Results, rows_of, without_body

Kind = Literal["completed", "failed", "never_ran"]
# Answers of a merged file are fetched by so many, or by so many bytes; bodies are in memory for one piece.
PIECE_ROWS, PIECE_BYTES = 500, 4 << 20
ROWS_AT_ONCE = 2_000
# A look that has to pass a whole batch gives up after this.
LOOK_MS = 15_000
MAX_KINDS = 50
# Of all batches together; a hundred thousand take a fifth of a second.
MOST_FAILURES = 100_000
SAMPLES = 5
# Of each kind the first line of each remainder is kept: a few of them, in one pass and in every version of MongoDB.
_REMAINDERS = 7
_MESSAGE_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """Which recorded items a page holds; None: any. `code` as core/retrying.py `code_of` says it."""

    kind: Kind | None = None
    code: str | None = None
    custom_id: str | None = None

    def where(self) -> Doc:
        """As MongoDB's filter."""
        where: Doc = {"$and": parts} if (parts := [*self._by_kind(), *self._by_code()]) else {}
        return where | ({} if self.custom_id is None else {"custom_id": self.custom_id})

    def _by_kind(self) -> Iterator[Doc]:
        if self.kind is not None:
            yield {"ok": self.kind == "completed"}
        if self.kind == "failed":
            yield {"error.code": {"$nin": list(NEVER_RAN_CODES)}}
        elif self.kind == "never_ran":
            yield {"error.code": {"$in": list(NEVER_RAN_CODES)}}

    def _by_code(self) -> Iterator[Doc]:
        if self.code is None:
            return
        status = self.code.removeprefix("http_")
        by_status = self.code.startswith("http_") and status.isascii() and status.isdigit()
        yield {"ok": False}
        yield {"error.code": None, "status_code": int(status[:9])} if by_status else {"error.code": self.code}


ANY = ItemFilter()


@dataclass(slots=True)
class FailureKind:
    """Failures alike: how many, and the first few. `samples` are {line: custom_id}, `message` is the first one's."""

    code: str
    status: int | None
    count: int = 0
    ids: list[str] = field(default_factory=list)
    samples: dict[int, str] = field(default_factory=dict)
    message: str = ""
    provider_code: str | None = None


class ResultLooks:
    """Read results, of one batch or of a lineage (the ids of a batch and its retries, oldest first)."""

    def __init__(self, db: Db, results: Results) -> None:
        self._docs, self._results = db["batch_results"], results

    def page(
        self, batch_id: str, *, after_line: int, limit: int, only: ItemFilter = ANY
    ) -> list[tuple[Result, str]]:
        """Results in input order without their bodies, each with its shard's id, those after a line.

        Nothing but the batch's range narrows a search for a custom_id: an index on it would cost every insert more
        than the few who look for one save. Raises TimeoutError where that takes too long.
        """
        where = rows_of(batch_id, after_line) | only.where()
        docs = self._docs.find(where, {"body": 0}, max_time_ms=LOOK_MS).sort("_id", 1).limit(limit)
        try:
            return [(without_body(doc), doc["shard"]) for doc in docs]
        except ExecutionTimeout as error:
            raise TimeoutError(f"{batch_id}: not found within {LOOK_MS} ms") from error

    def one(self, batch_id: str, line: int) -> tuple[Result, str] | None:
        """The result of a line with its body, and its shard's id."""
        id_ = result_id(batch_id, line)
        doc = self._docs.find_one({"_id": id_}, {"shard": 1})
        result = self._results.get(id_) if doc else None
        return (result, doc["shard"]) if doc and result else None

    # --- a lineage as one

    def generations(
        self, lineage: Sequence[str], *, failures: bool, custom_ids: bool = False
    ) -> list[Iterator[Row]]:
        """The rows of each batch by line, for `settled`; none is read before it is asked for.

        Args:
            failures: leave the root's successes out; a line that has one is in no other generation.
            custom_ids: bring them, which only the documents have; without them the index answers for failures.
        """
        root, *children = lineage
        rows = [self._rows(root, ok=not failures, custom_ids=custom_ids)]
        return rows + [
            self._rows(each, ok=None if failures else True, custom_ids=custom_ids) for each in children
        ]

    def lines(self, lineage: Sequence[str], *, ok: bool) -> Iterator[bytes]:
        """The merged output (`ok`) or error file: for each line its first success, or else its latest failure.

        Raises MissingBytes for a result that was there and is not any more.
        """
        piece: list[Row] = []
        size = 0
        for row in settled(self.generations(lineage, failures=not ok)):
            if row.ok != ok:
                continue
            piece.append(row)
            size += row.size
            if len(piece) >= PIECE_ROWS or size >= PIECE_BYTES:
                yield from self._whole(piece)
                piece, size = [], 0
        yield from self._whole(piece)

    def _whole(self, rows: Sequence[Row]) -> Iterator[bytes]:
        results = self._results.get_many([row.id for row in rows])
        for row in rows:
            if row.id not in results:  # a file that left it out would look like a whole one
                raise MissingBytes(f"{row.id} was taken away while it was read")
            yield output_line(batch_of(row.id), results[row.id])

    def _rows(self, batch_id: str, *, ok: bool | None, custom_ids: bool) -> Iterator[Row]:
        where = rows_of(batch_id) | ({} if ok is None else {"ok": ok})
        shown: Doc = {"ok": 1, "error.code": 1, "status_code": 1, "line_bytes": 1}
        shown |= {"custom_id": 1} if custom_ids else {}
        # Without a size the server fills sixteen megabytes, which are many times that as objects here.
        for doc in self._docs.find(where, shown, batch_size=ROWS_AT_ONCE).sort("_id", 1):
            yield row_of(doc)

    # --- failures by kind

    def failures(self, lineage: Sequence[str]) -> tuple[int, list[FailureKind]]:
        """How many failures count, and their kinds, the most frequent first, with message and samples.

        One batch is counted by the database from its index, several row by row. At most `MAX_KINDS` kinds are told.
        """
        kinds = (
            self._counted(lineage[0])
            if len(lineage) == 1
            else count_failures(
                row for row in settled(self.generations(lineage, failures=True)) if not row.ok
            )
        )
        total = sum(kind.count for kind in kinds)
        kinds.sort(key=lambda kind: (-kind.count, kind.code, kind.status or 0))
        del kinds[MAX_KINDS:]
        self._describe(kinds)
        return total, kinds

    def failures_since(self, since_s: float) -> list[tuple[str, int, int, int]]:
        """Failures in batches made since then, of all tenants: code, how many, when the first and the last batch of
        them was made (Unix seconds). From the index alone, and of the latest `MOST_FAILURES`.
        """
        made = {"$substrBytes": ["$_id", len("batch_"), 12]}
        group: Doc = {"_id": {"code": "$error.code", "status": "$status_code"}, "count": {"$sum": 1}}
        group |= {"first": {"$min": made}, "last": {"$max": made}}
        where = {"ok": False, "_id": {"$gte": f"batch_{int(since_s * 1000):012x}"}}
        fields = {"_id": 1, "error.code": 1, "status_code": 1}
        stages: list[Doc] = [
            *({"$match": where}, {"$sort": {"_id": -1}}, {"$limit": MOST_FAILURES}),
            *({"$project": fields}, {"$group": group}),
        ]
        return [
            (
                code_of(row["_id"].get("code"), row["_id"].get("status")),
                row["count"],
                *(int(row[name], 16) // 1000 for name in ("first", "last")),
            )
            for row in self._docs.aggregate(stages, maxTimeMS=LOOK_MS)
        ]

    def _counted(self, batch_id: str) -> list[FailureKind]:
        line = {"$toInt": {"$substrBytes": ["$_id", len(batch_id) + 1, 9]}}
        key = {"code": "$error.code", "status": "$status_code", "part": {"$mod": [line, _REMAINDERS]}}
        group: Doc = {"_id": key, "count": {"$sum": 1}, "first": {"$min": "$_id"}}
        stages: list[Doc] = [{"$match": rows_of(batch_id) | {"ok": False}}, {"$group": group}]
        kinds: dict[tuple[str, int | None], FailureKind] = {}
        for row in self._docs.aggregate(stages, maxTimeMS=LOOK_MS):
            status = row["_id"].get("status")
            code = code_of(row["_id"].get("code"), status)
            kind = kinds.setdefault((code, status), FailureKind(code, status))
            kind.count += row["count"]
            kind.ids.append(row["first"])
        for kind in kinds.values():
            kind.ids = sorted(kind.ids)[:SAMPLES]
        return list(kinds.values())

    def _describe(self, kinds: Sequence[FailureKind]) -> None:
        ids = [id_ for kind in kinds for id_ in kind.ids]
        names = {
            doc["_id"]: doc["custom_id"] for doc in self._docs.find({"_id": {"$in": ids}}, {"custom_id": 1})
        }
        for kind in kinds:
            kind.samples = {line_of(id_): names.get(id_, "") for id_ in kind.ids}
            first = self._results.get(kind.ids[0])
            if first is not None:
                kind.message, kind.provider_code = said_by(first)


def row_of(doc: Doc) -> Row:
    """As much of a result document as decides."""
    status = doc.get("status_code")
    code = "" if doc["ok"] else code_of((doc.get("error") or {}).get("code"), status)
    return Row(
        line_of(doc["_id"]), doc["ok"], code, status, doc.get("custom_id", ""), doc["_id"], doc["line_bytes"]
    )


def count_failures(rows: Iterable[Row]) -> list[FailureKind]:
    """The kinds of these failures, each with the ids of its first few."""
    kinds: dict[tuple[str, int | None], FailureKind] = {}
    for row in rows:
        key = (row.code, row.status)
        kind = kinds.get(key) or kinds.setdefault(key, FailureKind(row.code, row.status))
        kind.count += 1
        if len(kind.ids) < SAMPLES:
            kind.ids.append(row.id)
    return list(kinds.values())


def said_by(failure: Result) -> tuple[str, str | None]:
    """What a failure says, not endless, and the provider's own code where it gave one."""
    if failure.error is not None:
        return failure.error.message[:_MESSAGE_CHARACTERS], None
    try:
        said: Any = orjson.loads(failure.body or b"{}")
    except orjson.JSONDecodeError:
        said = {}
    error = said.get("error") if isinstance(said, dict) else None
    error = error if isinstance(error, dict) else {}
    code = error.get("code") or error.get("type")
    message = str(error.get("message") or f"status {failure.status_code}")
    return message[:_MESSAGE_CHARACTERS], str(code)[:_MESSAGE_CHARACTERS] if code else None
