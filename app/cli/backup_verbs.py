"""The verbs `backup` and `restore`: progress, and what came of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from app.cli import live, report, words
from app.cli.batch_verbs import load
from app.cli.errors import OK, CliError
from app.cli.session import ended_by_signals
from app.cli.which_database import WhichDatabase, away_is_not_reached, which_database

if TYPE_CHECKING:
    from app.backup.archive import Manifest, Tell
    from app.cli.live import Display

_HALF = "the database is not whole: repeat the command"
_SECRETS = "it holds the tenants' secrets and the hashes of API keys: keep it as private as the database"


@dataclass(slots=True)
class _Standing:
    """How far a verb has come, in the words for a person who stops it."""

    so_far: str


def backup(path: Path, *, as_json: bool) -> int:
    """Write a backup of the database of these settings."""
    from app.backup.saving import save

    settings = load()
    with _stoppable("nothing was written") as standing, ended_by_signals(), live.display() as display:
        display.stage(f"backing up to {words.clean(str(path))}")
        with (
            which_database(settings, "backing up", display, may_be_new=False) as found,
            away_is_not_reached(),
        ):
            manifest = save(found.url, found.name, path, alone=found.alone, tell=_teller(display))
            standing.so_far = "the backup is written"
    _print(path, manifest, found, as_json=as_json)
    print(_SECRETS, file=sys.stderr)
    return OK


def restore(path: Path, *, replace: bool, as_json: bool) -> int:
    """Fill the database of these settings from a backup."""
    from app.backup.restoring import restore as write_back

    settings = load()
    if not path.is_file():
        raise CliError(f"there is no file {words.clean(str(path))}")
    with _stoppable("nothing was changed") as standing, ended_by_signals(), live.display() as display:
        display.stage(f"restoring {words.clean(str(path))}")

        def begins() -> None:
            standing.so_far = _HALF

        with which_database(settings, "restoring", display, may_be_new=True) as found, away_is_not_reached():
            manifest = write_back(
                found.url,
                found.name,
                path,
                replace=replace,
                alone=found.alone,
                tell=_teller(display),
                begins=begins,
            )
            standing.so_far = "the database is restored"
    _print(path, manifest, found, as_json=as_json)
    print("`batchwright up` goes on with what had not ended", file=sys.stderr)
    return OK


@contextmanager
def _stoppable(so_far: str) -> Iterator[_Standing]:
    """Say what has come of it to whoever ends the block by Ctrl-C or another signal."""
    standing = _Standing(so_far)
    try:
        yield standing
    except (KeyboardInterrupt, SystemExit):
        print(f"stopped; {standing.so_far}", file=sys.stderr)
        raise


def _teller(display: Display) -> Tell:
    def tell(name: str, documents: int, size_bytes: int) -> None:
        display.detail(f"{name}: {words.things(documents, 'document')}, {words.size(size_bytes)}")

    return tell


def _print(path: Path, manifest: Manifest, database: WhichDatabase, *, as_json: bool) -> None:
    size_bytes = path.stat().st_size
    server = urlsplit(database.url).netloc.rpartition("@")[2]
    if as_json:
        report.print_json(
            {
                "file": str(path),
                "bytes": size_bytes,
                "created_at": manifest.created_at,
                "version": manifest.version,
                "database": database.name,
                "server": server,
                "collections": {part.name: part.documents for part in manifest.parts},
            }
        )
        return
    rows = [(part.name, words.count(part.documents), words.size(part.bytes)) for part in manifest.parts]
    report.print_table(("collection", "documents", "size"), rows, right=("documents", "size"))
    report.print_fields(
        [
            ("file", f"{path} ({words.size(size_bytes)})"),
            ("database", f"{database.name} at {server}"),
            ("taken", f"{words.moment(manifest.created_at)} by version {manifest.version}"),
        ]
    )
