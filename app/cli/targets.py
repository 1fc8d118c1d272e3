"""Where the answers of a run go. Decided, and checked, before anything is paid for.

Default: `out/STEM.out.jsonl` and `out/STEM.errors.jsonl` in the working directory: not beside the input, where
`*.jsonl` would take the answers for input the next time. `-o NAME.jsonl` puts the errors at
`NAME.errors.jsonl`. A run that has no errors leaves no error file, not even an older one under a name of ours; a
file that a person has named is never taken away.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.cli.errors import CliError
from app.client.transfer import cannot_write

FOLDER = "out"


@dataclass(frozen=True, slots=True)
class Target:
    """The two files of one batch, and whether a person has named them."""

    output: Path
    errors: Path
    output_named: bool = False
    errors_named: bool = False


def targets_for(files: Sequence[Path], output: Path | None, errors: Path | None) -> list[Target]:
    """One target for each input file, in their order.

    Raises: CliError for -o or --errors with several files, or a target that is an input, a directory, or both.
    """
    if len(files) > 1 and (output or errors):
        raise CliError(
            f"-o and --errors name one file, but there are {len(files)} inputs",
            hint=f"leave them out: the answers then go to {FOLDER}/",
        )
    if output or errors:
        ours = by_name(files[0].stem)
        # Beside /dev/null or a pipe there is no place for a file.
        beside = _errors_beside(output) if output and _is_plain(output) else ours.errors
        found = [
            Target(
                output or ours.output,
                errors or beside,
                output_named=output is not None,
                errors_named=errors is not None,
            )
        ]
    else:
        found = [by_name(stem) for stem in distinct([path.stem for path in files])]
    for target in found:
        _check(target, files)
    return found


def by_name(stem: str) -> Target:
    """The default files under a name."""
    return Target(Path(FOLDER) / f"{stem}.out.jsonl", Path(FOLDER) / f"{stem}.errors.jsonl")


def distinct(stems: Sequence[str]) -> list[str]:
    """Names that differ: `a/x.jsonl` and `b/x.jsonl` must not write to the same file."""
    given: set[str] = set()
    out = []
    for stem in stems:
        name, number = stem, 2
        while name in given:
            name, number = f"{stem}-{number}", number + 1
        given.add(name)
        out.append(name)
    return out


def prepare(target: Target) -> None:
    """Make the default folder, and see that both files can be written. Raises UserError."""
    for path in (target.output, target.errors):
        prepare_file(path)


def prepare_file(path: Path) -> None:
    """The same for one file."""
    try:
        if path.parent == Path(FOLDER):
            path.parent.mkdir(exist_ok=True)
        elif not path.parent.is_dir():
            raise CliError(f"cannot write {path}: there is no directory {path.parent}")
        place = path if path.exists() and not path.is_file() else path.parent
        if not os.access(place, os.W_OK):
            raise PermissionError(13, "no right to write there")
    except OSError as error:
        raise cannot_write(path, error) from error


def older_left(path: Path, what: str, *, named: bool) -> str | None:
    """Deal with an older file where there is none now: it would pass for this batch's.

    Ours is taken away; one that a person has named stays. Returns: what then is to be said.
    """
    if not path.is_file():
        return None
    if named:
        return f"there are no {what}; {path} was left as it was"
    path.unlink()
    return None


def _is_plain(path: Path) -> bool:
    return not path.exists() or path.is_file()


def _errors_beside(output: Path) -> Path:
    return output.with_name(f"{output.stem}.errors.jsonl")


def _check(target: Target, files: Sequence[Path]) -> None:
    for path in (target.output, target.errors):
        check_target(path, files)
    if _is_plain(target.output) and os.path.realpath(target.output) == os.path.realpath(target.errors):
        raise CliError(f"answers and errors cannot share {target.output}", hint="name two files")


def check_target(path: Path, inputs: Sequence[Path]) -> None:
    """Raises CliError for a target that is a directory or one of the inputs."""
    if path.is_dir():
        raise CliError(f"{path} is a directory", hint="name a file")
    if os.path.realpath(path) in {os.path.realpath(each) for each in inputs}:
        raise CliError(f"{path} is the input itself", hint="write the answers to another file")
