"""The verbs that keep what there is: `backup` and `restore`.

As in main.py, nothing heavy is imported here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import Json

_File = Annotated[Path, typer.Argument(metavar="FILE", help="The file of the backup.")]


def backup(file: _File, json: Json = False) -> None:
    """Write everything the database holds into one file.

    All batches, files, results, tenants and keys as they are at one moment; nothing needs to be stopped. The file
    holds secrets and is its owner's alone to read.
    """
    from app.cli import backup_verbs

    raise typer.Exit(backup_verbs.backup(file, as_json=json))


def restore(
    file: _File,
    replace: Annotated[
        bool, typer.Option("--replace", help="Drop what the database holds, batches and files too.")
    ] = False,
    json: Json = False,
) -> None:
    """Fill an empty database from a backup.

    The stack must be down. Batches that ran when the backup was taken go on with the next start, and nothing that
    was answered by then is asked again.
    """
    from app.cli import backup_verbs

    raise typer.Exit(backup_verbs.restore(file, replace=replace, as_json=json))
