"""`batchwright validate`: every fault of request files, before anything is sent, started or paid.

The pass is the one of `run` (preflight.py); only nothing stops at the first files or the first problems.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli import errors, report, words
from app.cli.errors import OK, WRONG_INPUT, CliError
from app.cli.preflight import CheckedFile, Rules, check_file
from app.cli.ways_out import Routes, for_model
from app.client.jsonl import endpoint_of
from workers.core.lines import SERVED_ENDPOINTS

if TYPE_CHECKING:
    from config.settings import Settings


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of one file: it can be sent, or what is wrong with it."""

    path: Path
    file: CheckedFile | None = None
    error: CliError | None = None


def validate(files: Sequence[Path], *, model: str | None, most: int, as_json: bool) -> int:
    """Look through all files; gives the exit code."""
    from config.settings import load_settings

    settings = load_settings()
    rules = _rules(settings, model, most)
    verdicts = [_verdict(path, rules) for path in files]
    for verdict in verdicts:
        if as_json:
            report.print_json(as_dict(verdict))
        else:
            for line in lines_of(verdict):
                print(words.clean(line))
    if not as_json and rules.choose is None:
        print(
            f"which models are answered, the server at {settings.api.url} alone knows; that was not looked at"
        )
    return WRONG_INPUT if any(verdict.error for verdict in verdicts) else OK


def _rules(settings: Settings, model: str | None, most: int) -> Rules:
    elsewhere = settings.api.url is not None
    return Rules(
        model=model,
        choose=None if elsewhere else Routes(settings, settings.simulator.all_models).chooser.choose,
        way_out=for_model,
        max_line_bytes=settings.batch.max_line_bytes,
        max_requests=None if elsewhere else settings.api.max_requests,
        max_file_bytes=None if elsewhere else settings.api.max_file_bytes,
        max_problems=most,
    )


def _verdict(path: Path, rules: Rules) -> Verdict:
    try:
        return Verdict(path, file=check_file(path, replace(rules, endpoint=_endpoint_in(path))))
    except CliError as error:
        return Verdict(path, error=error)


def _endpoint_in(path: Path) -> str | None:
    """What the first line that can be served asks for: a first line without it must not hide all the others.

    Where no line asks for anything, any endpoint does: each of them says what it lacks.
    """
    asked = False
    with suppress(OSError), path.open("rb") as file:
        for raw in file:
            endpoint = endpoint_of(raw)
            if endpoint in SERVED_ENDPOINTS:
                return endpoint
            asked = asked or endpoint is not None
    return None if asked else SERVED_ENDPOINTS[0]


def as_dict(verdict: Verdict) -> dict[str, Any]:
    """The line of `--json` of one file."""
    found: dict[str, Any] = {"file": str(verdict.path), "valid": verdict.error is None}
    if verdict.error is not None:
        return found | {"more": verdict.error.more, **errors.as_json(verdict.error)}
    file = verdict.file
    assert file is not None  # noqa: S101  a verdict holds one of the two
    models = [
        {"provider": chosen.provider, "model": chosen.model, "requests": number}
        for chosen, number in file.chosen.items()
    ]
    return found | {
        "requests": file.total,
        "bytes": file.bytes,
        "endpoint": file.endpoint,
        "models": models,
    }


def lines_of(verdict: Verdict) -> Iterator[str]:
    """The same for people: one line for a file that is right, one for each problem otherwise."""
    error, file = verdict.error, verdict.file
    if file is not None:
        number = words.things(file.total, "request", "requests")
        by_model = ", ".join(f"{chosen.provider}/{chosen.model}" for chosen in list(file.chosen)[:5])
        yield f"{verdict.path}: {number} for {file.endpoint}, {words.size(file.bytes)}, {by_model}: it can be sent"
    if error is None:
        return
    if not error.problems:
        yield f"error: {error.message}"
    for problem in error.problems:
        yield f"error: {problem}"
    if error.more:
        yield f"       {words.things(error.more, 'more problem', 'more problems')} not shown; --max shows more"
    if error.hint:
        yield f"       {error.hint}"
