"""The verbs of `batchwright`, their flags and their help.

Nothing heavy is imported here: `batchwright --help` must answer at once, so each verb imports what it needs.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from app.cli.cache_group import cache
from app.cli.group import Group
from app.cli.models_group import models

app = typer.Typer(
    cls=Group,
    name="batchwright",
    help="A file of prompts becomes a file of answers, each paid once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Order(str, Enum):  # noqa: UP042  typer reads the values of such an Enum
    """Orders an output file can have."""

    input = "input"


Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON on stdout.")]
BatchId = Annotated[str, typer.Argument(metavar="ID", help="The batch, batch_...")]
Files = Annotated[list[Path], typer.Argument(metavar="FILE", help="JSONL files, one request a line.")]
Model = Annotated[str | None, typer.Option(metavar="NAME", help="Answer every request by this model.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Ask anew, and keep no answer.")]
Workers = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Worker processes; default: one per core.")
]


def _ceiling(usd: float | None) -> float | None:
    if usd is not None and not 0 < usd < float("inf"):
        raise typer.BadParameter(f"a ceiling is a sum of US dollars above 0, got {usd:g}")
    return usd


MaxCost = Annotated[
    float | None,
    typer.Option(
        "--max-cost-usd",
        metavar="N",
        callback=_ceiling,
        help="Rest before the calls of a file cost more than this.",
    ),
]
Output = Annotated[Path | None, typer.Option("-o", "--output", metavar="OUT", help="Where the answers go.")]
Errors = Annotated[Path | None, typer.Option("--errors", metavar="ERR", help="Where the failed items go.")]


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; may stand anywhere.")] = False,
) -> None:
    """Taken out of the arguments by group.py; declared here for the help alone."""


@app.command()
def run(  # noqa: PLR0913, PLR0917  a flag each
    files: Files,
    output: Output = None,
    errors: Errors = None,
    model: Model = None,
    sim: Annotated[bool, typer.Option("--sim", help="Let the simulator answer; costs nothing.")] = False,
    workers: Workers = None,
    no_cache: NoCache = False,
    max_cost_usd: MaxCost = None,
    order: Annotated[
        Order | None, typer.Option(metavar="input", help="Output in input order; it always is.")
    ] = None,
    json: Json = False,
) -> None:
    """Answer files of requests and write the answers.

    Starts what is needed, shows the progress, and stops what it has started.

    Answers go to out/NAME.out.jsonl and failed items to out/NAME.errors.jsonl unless -o and --errors say
    otherwise. The same command again goes on with an unfinished batch; nothing is paid twice.
    """
    from app.cli.run import Options
    from app.cli.run import run as answer

    options = Options(
        model=model,
        simulate=sim,
        cache=not no_cache,
        max_cost_usd=max_cost_usd,
        input_order=order is not None,
        workers=workers,
        json=json,
    )
    raise typer.Exit(answer(files, options, output, errors))


@app.command()
def estimate(files: Files, model: Model = None, json: Json = False) -> None:
    """Say what files of requests would cost.

    By provider and model, before anything is sent or started. Equal requests are counted once.
    """
    from app.cli import estimate as estimate_verb

    raise typer.Exit(estimate_verb.estimate(files, model=model, as_json=json))


@app.command()
def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background.")] = False,
    workers: Workers = None,
    sim: Annotated[bool, typer.Option("--sim", help="Let the simulator answer every model.")] = False,
    json: Json = False,
) -> None:
    """Start the stack and print where its parts are."""
    from app.cli import stack_verbs

    raise typer.Exit(stack_verbs.up(detach=detach, workers=workers, simulate=sim, as_json=json))


@app.command()
def down(json: Json = False) -> None:
    """Stop the stack of this data directory; its data stays."""
    from app.cli import stack_verbs

    raise typer.Exit(stack_verbs.down(as_json=json))


@app.command()
def ps(json: Json = False) -> None:
    """List the processes of the stack."""
    from app.cli import stack_verbs

    raise typer.Exit(stack_verbs.ps(as_json=json))


@app.command()
def logs(
    service: Annotated[str | None, typer.Argument(help="Such as api or worker-1; default: all.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, metavar="N", help="How many of the last lines.")
    ] = 100,
    json: Json = False,
) -> None:
    """Print the logs of the stack's processes."""
    from app.cli import logs as logs_verb

    raise typer.Exit(logs_verb.logs(service, follow=follow, lines=lines, as_json=json))


@app.command()
def doctor(json: Json = False) -> None:
    """Look at everything the stack needs and say what is wrong.

    Servers, providers, keys, this machine and the running workers' clients, with the stack up or down; takes ten
    seconds at most and costs nothing. Exits with 1 if there is a problem; warnings alone are 0.
    """
    from app.cli import doctor as doctor_verb

    raise typer.Exit(doctor_verb.doctor(as_json=json))


@app.command()
def submit(
    files: Files,
    model: Model = None,
    no_cache: NoCache = False,
    max_cost_usd: MaxCost = None,
    json: Json = False,
) -> None:
    """Hand files to a running stack; prints the batches' ids."""
    from app.cli import batch_verbs

    code = batch_verbs.submit(files, model=model, cache=not no_cache, max_cost_usd=max_cost_usd, as_json=json)
    raise typer.Exit(code)


@app.command()
def watch(batch_id: BatchId, json: Json = False) -> None:
    """Show a batch's progress until it ends.

    Says why nothing moves, if nothing does. The batch goes on whether or not anybody watches.
    """
    from app.cli import batch_verbs

    raise typer.Exit(batch_verbs.watch(batch_id, as_json=json))


@app.command()
def download(
    batch_id: BatchId,
    output: Output = None,
    errors: Errors = None,
    partial: Annotated[bool, typer.Option("--partial", help="Take what there is before the end.")] = False,
    json: Json = False,
) -> None:
    """Bring a batch's answers here.

    They go to out/ID.out.jsonl and out/ID.errors.jsonl unless -o and --errors say otherwise.
    """
    from app.cli import batch_verbs

    code = batch_verbs.download(batch_id, output=output, errors=errors, partial=partial, as_json=json)
    raise typer.Exit(code)


@app.command()
def cancel(batch_id: BatchId, json: Json = False) -> None:
    """End a batch; what is answered stays answered."""
    _change(batch_id, "cancel", json=json)


@app.command()
def pause(batch_id: BatchId, json: Json = False) -> None:
    """Let a batch rest: no new call starts."""
    _change(batch_id, "pause", json=json)


@app.command()
def resume(batch_id: BatchId, max_cost_usd: MaxCost = None, json: Json = False) -> None:
    """Let a paused batch go on.

    One that rests at its money ceiling needs a higher one.
    """
    from app.cli import batch_verbs

    raise typer.Exit(batch_verbs.resume(batch_id, max_cost_usd=max_cost_usd, as_json=json))


def _change(batch_id: str, verb: str, *, json: bool) -> None:
    from app.cli import batch_verbs

    raise typer.Exit(batch_verbs.change(batch_id, verb, as_json=json))


@app.command()
def ls(
    limit: Annotated[int, typer.Option(min=1, max=100, metavar="N", help="How many.")] = 20,
    after: Annotated[str | None, typer.Option(metavar="ID", help="Older ones than this batch.")] = None,
    json: Json = False,
) -> None:
    """List batches, newest first."""
    from app.cli import batch_verbs

    raise typer.Exit(batch_verbs.ls(limit=limit, after=after, as_json=json))


@app.command()
def show(batch_id: BatchId, json: Json = False) -> None:
    """Show all there is to know of a batch.

    That includes why it was refused, and why it does not move, if it does not.
    """
    from app.cli import batch_verbs

    raise typer.Exit(batch_verbs.show(batch_id, as_json=json))


@app.command()
def items(
    batch_id: BatchId,
    failed: Annotated[bool, typer.Option("--failed", help="Those that failed alone.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="How many.")] = 100,
    after: Annotated[int, typer.Option(min=0, metavar="LINE", help="Those after this line.")] = 0,
    json: Json = False,
) -> None:
    """Show what each item of a batch took.

    That includes who answered it, its failed tries and its waits.
    """
    from app.cli import item_verbs

    raise typer.Exit(item_verbs.items(batch_id, failed=failed, limit=limit, after=after, as_json=json))


@app.command()
def cost(
    days: Annotated[int, typer.Option(min=1, max=366, metavar="N", help="Today and those before it.")] = 30,
    json: Json = False,
) -> None:
    """Show what the batches have cost.

    By day and provider; batches that retention has removed are not counted.
    """
    from app.cli import batch_verbs

    raise typer.Exit(batch_verbs.cost(days=days, as_json=json))


app.add_typer(models)
app.add_typer(cache)


@app.command()
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

    It is an OpenAI-compatible server whose answers are made up.
    """
    from app.cli import stack_verbs

    code = stack_verbs.sim(port=port, latency_ms=latency_ms, log=log, seed=seed, config=config, as_json=json)
    raise typer.Exit(code)


@app.command()
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


@app.command()
def version(json: Json = False) -> None:
    """Print the version."""
    import platform

    from app.version import VERSION

    if json:
        from app.cli import report

        report.print_json({"version": VERSION, "python": platform.python_version()})
    else:
        print(f"batchwright {VERSION} (Python {platform.python_version()})")


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
