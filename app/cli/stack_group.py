"""The verbs of the stack itself: up, down, ps, logs, reload, doctor.

As in main.py, nothing heavy is imported here.
"""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.options import Json, Workers


def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background.")] = False,
    workers: Workers = None,
    sim: Annotated[bool, typer.Option("--sim", help="Let the simulator answer every model.")] = False,
    json: Json = False,
) -> None:
    """Start the stack and print where its parts are."""
    from app.cli import stack_verbs

    raise typer.Exit(stack_verbs.up(detach=detach, workers=workers, simulate=sim, as_json=json))


def down(json: Json = False) -> None:
    """Stop the stack of this data directory; its data stays."""
    from app.cli import stack_verbs

    raise typer.Exit(stack_verbs.down(as_json=json))


def ps(json: Json = False) -> None:
    """List the processes of the stack."""
    from app.cli import stack_verbs

    raise typer.Exit(stack_verbs.ps(as_json=json))


def logs(
    service: Annotated[str | None, typer.Argument(help="Such as api or worker-1; default: all.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, metavar="N", help="How many of each process's last lines.")
    ] = 100,
    level: Annotated[
        str | None, typer.Option("--level", metavar="LEVEL", help="At least: debug, info, warning, error.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="WHEN", help="Such as 10m, 2h or 2026-11-21T10:00.")
    ] = None,
    grep: Annotated[str | None, typer.Option("--grep", metavar="TEXT", help="Only lines with it.")] = None,
    batch: Annotated[str | None, typer.Option("--batch", metavar="ID", help="Only about this batch.")] = None,
    json: Json = False,
) -> None:
    """Print the logs of the stack's processes, in the order of time.

    A traceback belongs to the line before it. Works on a stack that has ended, too.
    """
    from app.cli import logs as logs_verb

    asked = logs_verb.Asked(level, since, grep, batch)
    raise typer.Exit(logs_verb.logs(service, follow=follow, lines=lines, asked=asked, as_json=json))


def reload(
    wait: Annotated[
        float, typer.Option("--wait", min=0, metavar="SECONDS", help="Wait so long for the workers' answers.")
    ] = 10.0,
    json: Json = False,
) -> None:
    """Read limits, keys, models and prices anew, everywhere.

    Every process says what has changed and what needs a restart; settings that cannot be read change nothing. Needs an
    admin key of the first tenant, such as the stack's own.
    """
    from app.cli import reload_verb

    raise typer.Exit(reload_verb.reload(wait_s=wait, as_json=json))


def doctor(json: Json = False) -> None:
    """Look at everything the stack needs and say what is wrong.

    Servers, providers, keys, this machine and the running workers' clients, with the stack up or down; takes ten
    seconds at most and costs nothing. Exits with 1 if there is a problem; warnings alone are 0.
    """
    from app.cli import doctor as doctor_verb

    raise typer.Exit(doctor_verb.doctor(as_json=json))
