"""`batchwright build` and `rebuild`: the image, made by `docker buildx` from a checkout.

`rebuild` fetches the newest patches of the base image and keeps its layers in .batchwright/buildcache, in a form that
the docker of another machine can take up. The cache is written anew each time, so what is no longer used leaves it.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from app.cli import report
from app.cli.errors import NOT_REACHED, OK, SOME_FAILED, CliError

Target = Literal["core", "audio"]
TARGETS: tuple[Target, ...] = ("core", "audio")
# The builder that docker has by itself cannot write a cache to a folder.
BUILDER = "batchwright"
# What a program says on the way is for people, and stdout is for what came out.
STDERR = 2
_ROOT = Path(__file__).resolve().parents[2]
# Target and name of the image -> docker's exit code.
_Make = Callable[[Target, str], int]


def build_command(target: Target, tag: str, root: Path) -> list[str]:
    """What makes one target with the builder and the cache that docker has anyway. Pure."""
    return ["docker", "buildx", "build", "--target", target, "--tag", tag, "--load", str(root)]


def rebuild_command(
    target: Target, tag: str, root: Path, *, known: Path | None, written: Path, fresh: bool
) -> list[str]:
    """What makes it with the newest base. Pure.

    Args:
        known: the cache of the last time, None where there is none.
        written: the folder of the next one.
        fresh: use no layer of before.
    """
    command = ["docker", "buildx", "build", "--builder", BUILDER, "--pull", "--target", target, "--tag", tag]
    if fresh:
        command += ["--no-cache"]
    elif known is not None:
        command += ["--cache-from", f"type=local,src={known}"]
    return [*command, "--cache-to", f"type=local,dest={written},mode=max", "--load", str(root)]


def tag_of(target: Target) -> str:
    """The name under which docker-compose.yml looks for it."""
    return f"batchwright:{target}"


def build(targets: Sequence[Target], *, tag: str | None, as_json: bool) -> int:
    """Make each target; 0 when all are made. Raises CliError."""
    root = _ready(tag, targets)
    return _all(targets, lambda target, name: _run(build_command(target, name, root)), tag, as_json=as_json)


def rebuild(targets: Sequence[Target], *, tag: str | None, fresh: bool, as_json: bool) -> int:
    """The same with the newest base image, and a cache that lies in the checkout. Raises CliError."""
    root = _ready(tag, targets)
    _make_builder()

    def one(target: Target, name: str) -> int:
        known = root / ".batchwright" / "buildcache" / target
        written = known.with_name(f"{target}.new")
        shutil.rmtree(written, ignore_errors=True)
        there = known if (known / "index.json").is_file() else None
        code = _run(rebuild_command(target, name, root, known=there, written=written, fresh=fresh))
        if code == 0 and written.is_dir():
            shutil.rmtree(known, ignore_errors=True)
            written.rename(known)
        return code

    return _all(targets, one, tag, as_json=as_json)


def checkout(for_what: str) -> Path:
    """The folder of the source, which an installed package has not. Raises CliError."""
    if not (_ROOT / "Dockerfile").is_file():
        raise CliError(
            f"{for_what} needs the source, and this is an installed package",
            hint="run it in a checkout: git clone, then `make setup` and `.venv/bin/batchwright`",
        )
    return _ROOT


def _ready(tag: str | None, targets: Sequence[Target]) -> Path:
    if tag is not None and len(targets) > 1:
        raise CliError("one --tag names one image", hint="choose it by --target")
    root = checkout("an image")
    if shutil.which("docker") is None:
        raise CliError(
            "there is no `docker` here",
            hint="install Docker Engine 25 or newer with buildx (docs.docker.com/engine/install); "
            "`batchwright up` runs everything without it",
            exit_code=NOT_REACHED,
        )
    if _quietly(["docker", "buildx", "version"]) != 0:
        raise CliError(
            "this docker has no buildx",
            hint="install its plugin: the package docker-buildx-plugin, or docker-buildx",
            exit_code=NOT_REACHED,
        )
    if _quietly(["docker", "info"]) != 0:
        raise CliError(
            "no Docker Engine answers",
            hint="start it, or see what `docker info` says",
            exit_code=NOT_REACHED,
        )
    return root


def _make_builder() -> None:
    if _quietly(["docker", "buildx", "inspect", BUILDER]) == 0:
        return
    made = ["docker", "buildx", "create", "--name", BUILDER, "--driver", "docker-container"]
    if _quietly(made) != 0:
        raise CliError(
            "docker cannot make a builder that keeps its cache",
            hint=f"see what `{' '.join(made)}` says",
            exit_code=NOT_REACHED,
        )


def _all(targets: Sequence[Target], make: _Make, tag: str | None, *, as_json: bool) -> int:
    done = []
    for target in targets:
        name, began_s = tag or tag_of(target), time.monotonic()
        code = make(target, name)
        done.append(
            {
                "target": target,
                "image": name,
                "ok": code == 0,
                "seconds": round(time.monotonic() - began_s, 1),
            }
        )
        if code != 0:
            break
    if as_json:
        report.print_json(done)
    else:
        for each in done:
            said = "made" if each["ok"] else "could not be made (see above):"
            print(f"{said} {each['image']} in {each['seconds']} s")
    return OK if len(done) == len(targets) and all(each["ok"] for each in done) else SOME_FAILED


def _run(command: Sequence[str]) -> int:
    return subprocess.run(command, stdout=STDERR, check=False).returncode


def _quietly(command: Sequence[str]) -> int:
    return subprocess.run(command, capture_output=True, check=False).returncode
