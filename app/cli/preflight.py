"""Look through a file before anything is started or sent, with the planner that the server will use.

One pass: hash, count, check. A hopeless file costs a person one second and no process.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from app.cli.errors import CliError, FileProblem
from app.client.jsonl import endpoint_of
from workers.core.choose import Chosen
from workers.core.lines import SERVED_ENDPOINTS, custom_id_of
from workers.core.messages import LineProblem
from workers.core.planner import MAX_PROBLEMS, Planner, PlanRules, ShardLimits
from workers.core.split import GZIP, split_lines

if TYPE_CHECKING:
    from blake3 import blake3

_CHUNK_BYTES = 1 << 20
# The shards that come out are thrown away; small ones keep the planner small.
_SHARD = ShardLimits(max_items=500, max_line_bytes=4_000_000, max_span_bytes=32_000_000)
_EXAMPLE = (
    "each line is one JSON object: "
    '{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {...}}'
)
_POSITION = re.compile(r": line \d+ column (\d+) \(char \d+\)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a file is held against.

    Attributes:
        choose: who answers a request; None where the server knows better (it runs already): all pass here then.
        max_requests, max_file_bytes: None where they are the server's business.
        skip_invalid: bad lines go to the error file instead of refusing the file.
        max_problems: how many are kept with their words; the rest are counted.
        endpoint: what every line is held against; None: what the first one names.
    """

    model: str | None
    choose: Callable[[str, str, Mapping[str, Any]], Chosen | LineProblem | None] | None
    way_out: Callable[[str], str]
    max_line_bytes: int
    max_requests: int | None = None
    max_file_bytes: int | None = None
    skip_invalid: bool = False
    max_problems: int = MAX_PROBLEMS
    endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A file that can be sent; `digest` is blake3 over its bytes, `chosen` counts lines by who will answer them."""

    path: Path
    digest: str
    bytes: int
    endpoint: str
    total: int
    chosen: Mapping[Chosen, int]


def check_file(path: Path, rules: Rules) -> CheckedFile:
    """Read the whole file once. Raises CliError with every place that is wrong, as far as they are kept."""
    try:
        if path.is_dir():
            raise CliError(f"{path} is a directory", hint="name the files in it")
        if path.exists() and not path.is_file():
            # It is read twice, once to look and once to send.
            raise CliError(f"{path} is not a plain file", hint="write what it gives to a file first")
        with path.open("rb") as file:
            return _Pass(path, file, rules).run()
    except OSError as error:
        raise CliError(f"cannot read {path}: {error.strerror or error}") from error


class _Pass:
    def __init__(self, path: Path, file: BinaryIO, rules: Rules) -> None:
        from blake3 import blake3

        self._path, self._file, self._rules = path, file, rules
        self._hash: blake3 = blake3()
        self._read_bytes = 0
        self._wrong_models: dict[str, None] = {}
        self._details: dict[int, str] = {}

    def run(self) -> CheckedFile:
        lines = self._lines()
        first = next(lines, None)
        if first is None:
            raise CliError(f"{self._path} is empty", hint=_EXAMPLE)
        endpoint = self._endpoint(first)
        planner = Planner(
            PlanRules(
                endpoint=endpoint,
                choose=self._choose,
                limits_of=lambda _: _SHARD,
                custom_id_at=self._custom_id_at,
                model=self._rules.model,
                skip_invalid=self._rules.skip_invalid,
                max_line_bytes=self._rules.max_line_bytes,
                max_problems=self._rules.max_problems,
            )
        )
        self._feed(planner, first)
        for entry in lines:
            self._feed(planner, entry)
            self._check_number(planner.total)
        self._refuse(planner)
        return CheckedFile(
            self._path, self._hash.hexdigest(), self._read_bytes, endpoint, planner.total, planner.chosen
        )

    def _feed(self, planner: Planner, entry: tuple[int, int, bytes]) -> None:
        number, offset, raw = entry
        _, problem = planner.feed(raw, number, offset)
        is_broken = problem is not None and problem.code == "invalid_json_line"
        if is_broken and len(self._details) < self._rules.max_problems:
            self._details[number] = json_fault(raw)

    def _choose(self, endpoint: str, model: str, body: Mapping[str, Any]) -> Chosen | LineProblem | None:
        if self._rules.choose is None:
            return Chosen("the server decides", model)
        found = self._rules.choose(endpoint, model, body)
        if found is None:
            self._wrong_models.setdefault(model)
        return found

    def _endpoint(self, first: tuple[int, int, bytes]) -> str:
        if self._rules.endpoint is not None:
            return self._rules.endpoint
        number, _, raw = first
        url = endpoint_of(raw)
        if url in SERVED_ENDPOINTS:
            return str(url)
        if url is None:
            # The planner says best what such a line lacks; any endpoint will do for that.
            planner = Planner(
                PlanRules(
                    endpoint=SERVED_ENDPOINTS[0],
                    choose=lambda *_: None,
                    limits_of=lambda _: _SHARD,
                    custom_id_at=self._custom_id_at,
                    max_line_bytes=self._rules.max_line_bytes,
                )
            )
            self._feed(planner, first)
            self._refuse(planner, even_if_skipped=True)
        supported = ", ".join(SERVED_ENDPOINTS)
        problem = self._place(number, "url", "invalid_url", f"{url!r} cannot be served, only {supported} can")
        raise CliError(problems=[problem])

    def _lines(self) -> Iterator[tuple[int, int, bytes]]:
        """Physical number, offset, bytes without line end; blank lines are counted, not given."""
        return split_lines(self._chunks(), self._rules.max_line_bytes)

    def _chunks(self) -> Iterator[bytes]:
        while chunk := self._file.read(_CHUNK_BYTES):
            self._hash.update(chunk)
            self._read_bytes += len(chunk)
            self._check_size()
            yield chunk

    def _check_size(self) -> None:
        limit = self._rules.max_file_bytes
        if limit is not None and self._read_bytes > limit:
            raise CliError(
                f"{self._path} is larger than {limit:,} bytes, the limit for a file",
                hint="cut it into smaller ones, or raise BATCHWRIGHT_API_MAX_FILE_BYTES",
            )

    def _check_number(self, total: int) -> None:
        limit = self._rules.max_requests
        if limit is not None and total > limit:
            raise CliError(
                f"{self._path} has more than {limit:,} requests, the limit for a file",
                hint="cut it into smaller ones, or raise BATCHWRIGHT_API_MAX_REQUESTS",
            )

    def _custom_id_at(self, offset: int) -> str:
        with self._path.open("rb") as again:
            again.seek(offset)
            return custom_id_of(again.readline(self._rules.max_line_bytes + 2))

    def _refuse(self, planner: Planner, *, even_if_skipped: bool = False) -> None:
        if planner.problem_count == 0 or (self._rules.skip_invalid and not even_if_skipped):
            return
        ordered = sorted(planner.problems, key=lambda problem: problem.line or 0)
        hint = None
        if any(problem.code == "invalid_json_line" for problem in ordered):
            hint = _EXAMPLE
        elif self._wrong_models:
            hint = self._rules.way_out(next(iter(self._wrong_models)))
        raise CliError(
            problems=[self._problem(problem) for problem in ordered],
            more=planner.problem_count - len(ordered),
            hint=hint,
        )

    def _problem(self, problem: LineProblem) -> FileProblem:
        message = problem.message
        if problem.code == "invalid_json_line":
            message = self._details.get(problem.line or 0, message)
        elif problem.code == "model_not_found":
            message = no_provider(message)
        return self._place(problem.line, problem.param, problem.code, message)

    def _place(self, line: int | None, field: str | None, code: str, message: str) -> FileProblem:
        return FileProblem(str(self._path), line, field, code, message)


def no_provider(message: str) -> str:
    """The Batch API's words for a model of nobody, in ours."""
    return f"no provider answers the model {refused_model(message)!r}"


def refused_model(message: str) -> str:
    """The model's name inside the Batch API's words."""
    return message.partition("'")[2].partition("'")[0]


def json_fault(raw: bytes) -> str:
    """What is wrong with a line that is no JSON object, with the column."""
    if raw.startswith(GZIP):
        return "not JSON, but packed with gzip; unpack the file first"
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        found = _POSITION.search(str(error))
        column = f" (column {found[1]})" if found else ""
        return f"not valid JSON: {_POSITION.sub('', str(error))}{column}"
    return "JSON, but not an object"
