"""`batchwright bench`: show on stderr what a bench says while it runs, print what came out on stdout."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli import live, report
from app.cli.batch_verbs import load
from app.cli.errors import OK, SOME_FAILED, CliError
from app.cli.session import ended_by_signals

if TYPE_CHECKING:
    from app.bench.record import Outcome
    from app.bench.run import Options


def bench(options: Options, out: Path, *, as_json: bool) -> int:
    """Measure this engine beside others and write three files; 1 when ours broke. Raises UserError, StackError."""
    from app.bench import record, run
    from app.bench.telling import Telling

    options = replace(options, transport=load().http.transport)
    target = out.absolute()
    run.prepare(target)
    with ended_by_signals(), live.display() as display:
        display.stage("starting the bench")
        outcome = run.run(options, Telling(display.note, display.stage))
    files = run.write(outcome, target)
    if as_json:
        report.print_json(record.as_json(outcome))
    else:
        _print(outcome)
    for path in files:
        print(f"wrote {path}", file=sys.stderr)
    return SOME_FAILED if outcome.is_broken else OK


def providers(count: int, *, yes: bool, as_json: bool) -> int:
    """Time the configured providers, after asking: every call is real."""
    from app.bench import latency
    from app.bench.cache_server import cache_server
    from app.bench.providers import measure

    settings = load()
    if not settings.providers:
        raise CliError("no provider is configured", hint="set a key such as OPENAI_API_KEY, or OLLAMA_HOST")
    names = ", ".join(provider.name for provider in settings.providers)
    calls = latency.calls_needed(len(settings.providers), count)
    _ask(f"up to {calls} real calls to {names}; each one is paid", yes=yes)
    with ended_by_signals(), live.display() as display, cache_server(settings) as url:
        measured = asyncio.run(measure(settings, count, url, display.stage))
    if as_json:
        report.print_json(latency.as_json(measured))
        return OK
    columns = ("provider", "model", "what", "p50 ms", "p95 ms", "failed", "promised")
    report.print_table(columns, latency.rows(measured), right=("p50 ms", "p95 ms"))
    return OK


def _ask(what: str, *, yes: bool) -> None:
    print(what, file=sys.stderr, flush=True)
    if yes:
        return
    if not sys.stdin.isatty():
        raise CliError("nobody is there to agree to these calls", hint="say so by --yes")
    print("go on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CliError("nothing was called")


def _print(outcome: Outcome) -> None:
    from app.bench.table import markdown

    print(markdown(outcome))
