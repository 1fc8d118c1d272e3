"""Write a download so that a reader never sees half of it.

The bytes go to a temporary file beside the target, which then takes its name in one step; a failure leaves
the old target as it was and nothing else behind.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from workers.core.errors import UserError


@contextmanager
def whole_or_nothing(target: Path) -> Iterator[BinaryIO]:
    """A file to write `target`'s bytes to; they appear when the block ends well.

    A link is followed, and what is no plain file (a pipe, /dev/null) is written to directly: a rename would
    put a file in its place.
    Raises: UserError when the target cannot be written.
    """
    path = Path(os.path.realpath(target))
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            with path.open("wb") as direct:
                yield direct
            return
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        with _renamed_at_end(temporary, path) as file:
            yield file
    except (ConnectionError, TimeoutError):
        raise  # what broke is where the bytes come from
    except OSError as error:
        raise cannot_write(target, error) from error


@contextmanager
def _renamed_at_end(temporary: Path, path: Path) -> Iterator[BinaryIO]:
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            temporary.chmod(path.stat().st_mode & 0o777)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def cannot_write(target: Path, error: OSError) -> UserError:
    """Say why a file cannot be written."""
    return UserError(f"cannot write {target}: {error.strerror or error}", hint="name another file with -o")
