"""`--cron` and `--every`: when something is to be done, as the command line says it; checked before a file is sent."""

from __future__ import annotations

import re
from typing import Annotated

import typer

_PART = re.compile(r"([0-9]+)([smhd])")
_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def every_s(text: str) -> int:
    """Seconds of `30m`, `90s`, `1h30m` or `2d`. Raises BadParameter for anything else."""
    found = _PART.findall(text)
    seconds = sum(int(number) * _UNITS_S[unit] for number, unit in found)
    if "".join(map("".join, found)) != text or not seconds:
        raise typer.BadParameter(f"a time is such as 30m, 12h or 1h30m, got {text[:32]!r}")
    return seconds


def every_text(seconds: int) -> str:
    """The inverse: 5400 is `1h30m`."""
    said = ""
    for unit, size_s in reversed(_UNITS_S.items()):
        number, seconds = divmod(seconds, size_s)
        said += f"{number}{unit}" if number else ""
    return said or "0s"


def _every(text: str | None) -> str | None:
    from workers.core.schedule import LEAST_EVERY_S, MOST_EVERY_S

    if text is not None and not LEAST_EVERY_S <= every_s(text) <= MOST_EVERY_S:
        least, most = f"{LEAST_EVERY_S}s", f"{MOST_EVERY_S // _UNITS_S['d']}d"
        raise typer.BadParameter(f"it can be from {least} to {most}, got {text[:32]!r}")
    return text


def _cron(text: str | None) -> str | None:
    from workers.core.schedule import BadRhythm, check_cron

    try:
        # The zone is the server's to judge: it may know others than this machine.
        return text if text is None else check_cron(text, "UTC").expression
    except BadRhythm as error:
        raise typer.BadParameter(str(error)) from None


Cron = Annotated[
    str | None,
    typer.Option(
        "--cron",
        metavar="CRON",
        callback=_cron,
        help='When: five fields, such as "0 5 * * *" for 5:00 each day.',
    ),
]
Every = Annotated[
    str | None,
    typer.Option("--every", metavar="TIME", callback=_every, help="Or how often: 30m, 12h, 1h30m, 2d."),
]
Timezone = Annotated[
    str | None,
    typer.Option("--tz", "--timezone", metavar="ZONE", help="Of --cron: Europe/Berlin; default: UTC."),
]
