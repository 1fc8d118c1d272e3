"""The Dockerfile and .dockerignore, read as docker reads them, and carried out into plain folders where no docker is.

`instructions` and `context` are pure readings. `Layers` carries out COPY, RUN and WORKDIR of the stages that a target
needs: each stage is a folder over its base image, of which nothing is there; so the size of a target's folder is what
the image has beyond its base. Commands run on this machine with the image's absolute paths moved below the folder. What
only makes sense in a container (`LEFT_OUT`) does nothing and is told.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "Dockerfile"
# python:3.13-slim unpacked, rounded up: 78 MB of Debian and 45 MB of Python.
BASE_BYTES = 125_000_000
# Users, owners and Debian's packages: the machine keeps its own.
LEFT_OUT = ("apt-get", "chown", "useradd")
_PATHS = re.compile(r"(?<![\w.{}])/(?=(?:opt|build|data|usr/local/bin)\b)")
_FLAGS = re.compile(r"^(?:--\S+\s+)+")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: `COPY`, its `--` flags by name, and the words behind them as they stand."""

    name: str
    flags: Mapping[str, str]
    rest: str


def instructions(text: str) -> list[Instruction]:
    """A Dockerfile's instructions; comments and line ends are gone."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found = []
    for line in filter(None, map(str.strip, joined.splitlines())):
        name, _, rest = line.partition(" ")
        flags = _FLAGS.match(rest)
        told = [flag.lstrip("-").partition("=") for flag in (flags.group().split() if flags else ())]
        found.append(
            Instruction(name.upper(), {key: value for key, _, value in told}, _FLAGS.sub("", rest).strip())
        )
    return found


def stages(text: str) -> dict[str, tuple[str, list[Instruction]]]:
    """What each stage begins with and does, by its name, in order."""
    found: dict[str, tuple[str, list[Instruction]]] = {}
    for each in instructions(text):
        if each.name == "FROM":
            base, _, name = each.rest.partition(" AS ")
            current: list[Instruction] = []
            found[name or str(len(found))] = (base, current)
        else:
            current.append(each)
    return found


def context(root: Path = ROOT) -> list[Path]:
    """The files that are sent to the builder, by .dockerignore: of all rules that match the last one counts."""
    rules = []
    for line in (root / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            pattern = re.escape(line.removeprefix("!")).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
            rules.append((re.compile(f"{pattern}(?:/.*)?"), not line.startswith("!")))
    return sorted(path for path in _candidates(root) if not _is_out(path.relative_to(root), rules))


def _is_out(path: Path, rules: Sequence[tuple[re.Pattern[str], bool]]) -> bool:
    out = False
    for pattern, excludes in rules:
        if pattern.fullmatch(path.as_posix()):
            out = excludes
    return out


def _candidates(root: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if name not in (".git", ".venv", ".venv-bench", "node_modules")]
        yield from (Path(folder) / name for name in files)


def size(folder: Path) -> int:
    """Bytes of the files below, as a layer counts them: each once, and links at no cost."""
    seen = {path.stat().st_ino: path.stat().st_size for path in folder.rglob("*") if _is_file(path)}
    return sum(seen.values())


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


@dataclass
class Layers:
    """The stages of our Dockerfile below `folder`, each made once, with what its base added before it.

    `left_out`: commands that were not carried out.
    """

    folder: Path
    python: Path = field(default_factory=lambda: Path(sys.executable))
    left_out: list[str] = field(default_factory=list)
    _made: dict[str, Path] = field(default_factory=dict)

    def make(self, stage: str) -> Path:
        """The folder of a stage."""
        if stage not in self._made:
            base, steps = stages(DOCKERFILE.read_text(encoding="utf-8"))[stage]
            root = self._made[stage] = self.folder / stage
            if base in stages(DOCKERFILE.read_text(encoding="utf-8")):
                shutil.copytree(self.make(base), root, symlinks=True)
            else:
                (root / "usr" / "local" / "bin").mkdir(parents=True)
            here = Path("/")
            for step in steps:
                if step.name == "WORKDIR":
                    here = here / step.rest
                    _below(root, here).mkdir(parents=True, exist_ok=True)
                elif step.name == "COPY":
                    self._copy(step, root, here)
                elif step.name == "RUN":
                    self._run(step.rest, root, here)
        return self._made[stage]

    def _copy(self, step: Instruction, root: Path, here: Path) -> None:
        *sources, target = step.rest.split()
        into = _below(root, here / target)
        if "from" in step.flags:
            made = _below(self.make(step.flags["from"]), Path(sources[0]))
            shutil.copytree(made, into, symlinks=True, dirs_exist_ok=True)
            return
        sent = context()
        for source in sources:
            files = [path for path in sent if path == ROOT / source or (ROOT / source) in path.parents]
            if not files:
                raise FileNotFoundError(f"{source} is not in the build's context")
            for path in files:
                inner = path.relative_to(ROOT / source)
                # A file goes into a folder that ends in a slash; a folder's contents go into the target.
                name = Path(source).name if target.endswith("/") and path == ROOT / source else ""
                place = into / name / inner if inner.parts or name else into
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place)

    def _run(self, command: str, root: Path, here: Path) -> None:
        tools = self._tools()
        done = subprocess.run(
            ["sh", "-ec", _PATHS.sub(f"{root}/", command)],
            cwd=_below(root, here),
            env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "PIP_NO_INPUT": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{command}\n{done.stdout}{done.stderr}")
        self.left_out += (tools / "left_out").read_text(encoding="utf-8").splitlines()

    def _tools(self) -> Path:
        """Programs that come before the machine's: our interpreter as `python`, and nothing as those of `LEFT_OUT`."""
        tools = self.folder / "tools"
        tools.mkdir(parents=True, exist_ok=True)
        (tools / "left_out").write_text("", encoding="utf-8")
        for name in LEFT_OUT:
            _program(tools / name, f'echo "{name} $*" >> "{tools}/left_out"')
        _program(tools / "python", f'exec "{self.python}" "$@"')
        return tools


def _program(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
    path.chmod(0o755)


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")
