"""What an installation needs before its first request: indexes, the first tenant, and a key to begin with.

server.py calls `prepare` at every start. auth.py knows by its fingerprint a key that the installation was given.
"""

from __future__ import annotations

import os
from pathlib import Path

import blake3

from app.api.services import Services
from workers.core.errors import UserError
from workers.core.identity import new_api_key
from workers.store.mongo import ensure_indexes
from workers.store.snapshot import refuse_half_restored
from workers.store.tenants import DEFAULT_TENANT


def prepare(services: Services, key_file: Path | None) -> None:
    """Make what a new database lacks: indexes, the first tenant, and the API key in `key_file`.

    Safe at every start and in several processes at once. A key file that is not there yet is made.
    Raises: UserError where a restore has not ended.
    """
    refuse_half_restored(services.db)
    ensure_indexes(services.db)
    services.tenants.ensure(DEFAULT_TENANT)
    services.api_keys.adopt()
    if services.settings.api.bootstrap_key is not None:
        _give(services, services.settings.api.bootstrap_key.reveal(), name="configured")
    if key_file is not None:
        _give(services, _key_in(key_file), name="bootstrap")


def _give(services: Services, key: str, *, name: str) -> None:
    services.api_keys.add(DEFAULT_TENANT, key, name=name)
    services.given_keys.add(fingerprint(key))


def fingerprint(key: str) -> bytes:
    """By what a process knows a key again without keeping it."""
    return blake3.blake3(key.encode("utf-8", "replace")).digest()


def _key_in(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        key = path.read_text(encoding="utf-8").strip()
        if not key:
            raise UserError(
                f"the key file {path} is empty", hint="delete it; a new one will be made"
            ) from None
        return key
    except OSError as error:
        raise UserError(f"cannot make the key file {path}: {error.strerror}") from error
    key = new_api_key()
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(key + "\n")
    return key
