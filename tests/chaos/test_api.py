"""Faults 1 and 2: the API dies while it takes something in."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.chaos.arena import Arena
from tests.chaos.client import Tenant
from tests.chaos.oracle import Expected, Finding
from tests.chaos.rules import Rules
from tests.chaos.victim import Death
from tests.support.eventually import eventually
from workers.core import faultpoints

pytestmark = pytest.mark.chaos
Opens = Callable[[Rules], Arena]
Judges = Callable[[Arena, Expected], Finding]
_PIECES = 10
_PIECE_BYTES = 2_000_000
_BOUNDARY = "one-part-and-another"
_HEAD = (
    f'--{_BOUNDARY}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--{_BOUNDARY}\r\n'
    'content-disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n'
).encode()


@pytest.mark.fault("1", "kill -9 the API at each 10 % of an upload")
def test_an_upload_that_was_broken_off_leaves_nothing(
    arena_of: Opens, verdict: Judges, seed: int, items: int
) -> None:
    arena = arena_of(Rules(seed, tenants=("one",)))
    tenant, begun = arena.tenants["one"], 0
    for tenth in range(_PIECES):
        pid = arena.pid("api")
        with contextlib.suppress(OSError, http.client.HTTPException):
            _upload_until(tenant, tenth, lambda: arena.kill("api"))
        begun += arena.db["files.chunks"].count_documents({}, limit=1)
        arena.restarted("api", pid)
        eventually(lambda: _is_up(tenant), 20)
    assert begun, "every upload died before anything of it was written"
    # When the sweeper has passed, then nothing is left of any of them, nor a batch.
    documents = ("files", "files.chunks", "batch_jobs")
    eventually(
        lambda: not any(arena.db[name].count_documents({}) for name in documents),
        20,
        what=lambda: {name: arena.db[name].count_documents({}) for name in documents},
    )
    assert tenant.insist("GET", "/v1/files")["data"] == []
    # And the next upload is as good as any.
    tenant.submit(items)
    arena.rest()
    verdict(arena, Expected(max_excess=0))


@pytest.mark.quick
@pytest.mark.fault("2", "kill -9 the API between the write and the answer of a create")
def test_a_create_that_is_repeated_makes_one_batch(
    arena_of: Opens, verdict: Judges, seed: int, items: int, tmp_path: Path
) -> None:
    death = Death(faultpoints.BATCH_WRITTEN, once=str(tmp_path / "died"))
    arena = arena_of(Rules(seed, deaths={"api": death}))
    # When the first create is written and never answered, and its sender repeats it under the same key
    batch = arena.tenants["one"].submit(items)
    assert (tmp_path / "died").exists()
    # Then it is the same batch.
    assert [doc["_id"] for doc in arena.db["batch_jobs"].find()] == [batch.id]
    arena.rest()
    verdict(arena, Expected(max_excess=0))


def _upload_until(tenant: Tenant, pieces: int, then: Callable[[], object]) -> None:
    """Send so many tenths of a file, do something, and go on to the end."""
    line = b'{"custom_id": "%07d", "method": "POST", "url": "/v1/chat/completions", "body": {}}\n'
    piece = b"".join(line % number for number in range(_PIECE_BYTES // len(line % 0)))
    tail = f"\r\n--{_BOUNDARY}--\r\n".encode()
    connection = http.client.HTTPConnection(urlsplit(tenant.url).netloc, timeout=10)
    try:
        connection.putrequest("POST", "/v1/files")
        connection.putheader("authorization", f"Bearer {tenant.key}")
        connection.putheader("content-type", f"multipart/form-data; boundary={_BOUNDARY}")
        connection.putheader("content-length", str(len(_HEAD) + _PIECES * len(piece) + len(tail)))
        connection.endheaders(_HEAD)
        for number in range(_PIECES):
            if number == pieces:
                then()
            connection.send(piece)
        connection.send(tail)
        connection.getresponse()
    finally:
        connection.close()


def _is_up(tenant: Tenant) -> bool:
    try:
        return bool(tenant.ask("GET", "/health").status_code == 200)
    except Exception:  # noqa: BLE001 - it is being started
        return False
