"""The verbs that need no stack of their own: `estimate`, `validate`, `sim` and `bench`.

As in main.py, nothing heavy is imported here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import Files, Json, Model


def estimate(files: Files, model: Model = None, json: Json = False) -> None:
    """Say what files of requests would cost.

    By provider and model, before anything is sent or started. Equal requests are counted once.
    """
    from app.cli import estimate as estimate_verb

    raise typer.Exit(estimate_verb.estimate(files, model=model, as_json=json))


def validate(
    files: Files,
    model: Model = None,
    most: Annotated[
        int, typer.Option("--max", min=1, metavar="N", help="How many problems of a file to show.")
    ] = 1000,
    json: Json = False,
) -> None:
    """Find everything that is wrong with files of requests.

    Nothing is sent, started or paid. Exits with 2 if a file would be refused.
    """
    from app.cli import validating

    raise typer.Exit(validating.validate(files, model=model, most=most, as_json=json))


def sim(
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, metavar="N", help="0 takes a free one.")
    ] = None,
    latency_ms: Annotated[
        float | None, typer.Option(min=0, metavar="N", help="Time before each answer.")
    ] = None,
    log: Annotated[Path | None, typer.Option(metavar="FILE", help="Append a JSON line a call.")] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Answers, latencies and faults follow from it.")
    ] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="More settings, as TOML.")] = None,
    json: Json = False,
) -> None:
    """Run the simulator alone.

    One server with the APIs of OpenAI, Anthropic, Gemini and Ollama, whose answers are made up. A prompt may ask
    for a fault: [[sim:status=503]], [[sim:latency-ms=500]], [[sim:status=429;retry-after=2;times=1]].
    """
    from app.cli import stack_verbs

    code = stack_verbs.sim(port=port, latency_ms=latency_ms, log=log, seed=seed, config=config, as_json=json)
    raise typer.Exit(code)


def bench(  # noqa: PLR0913, PLR0917  a flag each
    quick: Annotated[bool, typer.Option("--quick", help="Short rounds; under two minutes.")] = False,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the files go.")] = Path("bench-results"),
    growth: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Items of the largest batch; 0: none.")
    ] = None,
    only: Annotated[str, typer.Option(metavar="NAME,...", help="These engines alone.")] = "",
    rounds: Annotated[int, typer.Option(min=1, metavar="N", help="How often each engine runs.")] = 3,
    concurrency: Annotated[int, typer.Option(min=1, metavar="N", help="Calls at once.")] = 800,
    providers: Annotated[
        bool, typer.Option("--providers", help="Time the configured providers instead.")
    ] = False,
    count: Annotated[int, typer.Option("-n", min=1, metavar="N", help="Calls of each kind.")] = 10,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before calls that cost.")] = False,
    json: Json = False,
) -> None:
    """Measure this engine beside others.

    Starts servers of its own and a simulated provider, and takes them away again. With --providers it calls the
    configured providers, and each call is paid.
    """
    from app.cli import bench as bench_verb

    if providers:
        raise typer.Exit(bench_verb.providers(count, yes=yes, as_json=json))
    from app.bench.run import Options

    names = tuple(name.strip() for name in only.split(",") if name.strip())
    options = Options(quick=quick, growth=growth, only=names, rounds=rounds, concurrency=concurrency)
    raise typer.Exit(bench_verb.bench(options, out, as_json=json))
