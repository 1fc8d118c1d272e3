"""The verbs of who works on Batchwright itself: `build`, `rebuild`, `test`, `profile`; and `pull-models`.

As in main.py, nothing heavy is imported here.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import Json

if TYPE_CHECKING:
    from app.cli.building import Target


class Image(str, Enum):  # noqa: UP042  typer reads the values of such an Enum
    """What an image is made for."""

    core = "core"
    audio = "audio"
    all = "all"


_Target = Annotated[Image, typer.Option("--target", help="Everything, or with the libraries for sound.")]
_Tag = Annotated[str | None, typer.Option(metavar="NAME", help="Its name; default: batchwright:TARGET.")]


def build(target: _Target = Image.core, tag: _Tag = None, json: Json = False) -> None:
    """Make the docker image that docker-compose.yml runs.

    Needs a checkout and docker with buildx.
    """
    from app.cli import building

    raise typer.Exit(building.build(_targets(target), tag=tag, as_json=json))


def rebuild(
    target: _Target = Image.core,
    tag: _Tag = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Use no layer of before.")] = False,
    json: Json = False,
) -> None:
    """Make it anew with the newest base image.

    Layers that have not changed come from .batchwright/buildcache, which is written anew.
    """
    from app.cli import building

    raise typer.Exit(building.rebuild(_targets(target), tag=tag, fresh=no_cache, as_json=json))


def run_tests(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="ARG", help="For pytest, behind --: -- -k cache")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Only what decides; under 20 s.")] = False,
    json: Json = False,
) -> None:
    """Run the test suite of a checkout."""
    from app.cli import suite

    raise typer.Exit(suite.run(words or [], quick=quick, as_json=json))


def profile(
    cpu: Annotated[bool, typer.Option("--cpu", help="CPU time by function instead; Linux only.")] = False,
    items: Annotated[int, typer.Option(min=100, metavar="N", help="Items of the batch.")] = 10_000,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the file goes.")] = Path("bench-results"),
    json: Json = False,
) -> None:
    """Say where the time of an item goes.

    Answers a batch with servers of its own and a simulated provider, and takes them away again. Without --cpu: how
    long each step took, as the worker timed it. With it: which functions of the worker used the CPU.
    """
    from app.cli import profiling

    raise typer.Exit(profiling.profile(items, out, cpu=cpu, as_json=json))


def pull_models(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Models of Ollama's library, or aliases.")
    ] = None,
    json: Json = False,
) -> None:
    """Fetch models into Ollama, as `models pull` does."""
    from app.cli.pull import pull

    raise typer.Exit(pull(names or [], all_configured=False, as_json=json))


def _targets(image: Image) -> tuple[Target, ...]:
    from app.cli import building

    return building.TARGETS if image is Image.all else (image.value,)
