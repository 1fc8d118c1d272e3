"""One whole stack for other people's clients: servers, a simulator, a worker and the API, started once a session.

`stack` says where it is and what its key is, and uploads, creates and waits for those tests that are about something
else. A batch of a few lines ends within `PATIENCE_S`.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support.apart import apart
from tests.support.api import Api, running_api
from tests.support.eventually import eventually
from tests.support.servers import TestServers
from tests.support.workers import Site, open_site, started_worker

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types import Batch

CHAT: Final = "/v1/chat/completions"
PATIENCE_S = 30.0
MAX_FILE_BYTES = 12_000_000  # room for 50,001 short lines
CALL_SLOTS = 64  # calls at once: a batch of more slow lines can be stopped in the middle
SLOW_LINES = 16 * CALL_SLOTS
ENDED = ("completed", "failed", "cancelled", "expired")


def line(custom_id: str, text: str, **body: Any) -> bytes:
    """One good line of an input file, with its line end."""
    asked = {"model": "sim-small", "messages": [{"role": "user", "content": text}], **body}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": CHAT, "body": asked}).encode() + b"\n"


def lines(count: int, *, fault: str = "") -> bytes:
    """So many good lines that nobody has asked before; `fault`: what the simulator does to each (its faults.py)."""
    run = uuid.uuid4().hex
    marker = f"[[sim:{fault}]]" if fault else ""
    return b"".join(line(f"r{n}", f"{run} {n} {marker}") for n in range(1, count + 1))


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--retake-pictures` writes the pictures of Flower into docs/images."""
    parser.addoption("--retake-pictures", action="store_true", help="write the pictures of docs/images anew")


@dataclass(frozen=True)
class Stack:
    """A running stack: the API as its clients see it, and what stands behind it."""

    api: Api
    site: Site

    @property
    def base_url(self) -> str:
        """What an SDK calls its base URL."""
        return f"{self.api.url}/v1"

    @property
    def key(self) -> str:
        return self.api.key

    @property
    def sdk(self) -> OpenAI:
        """The official SDK, strict about every field; it repeats nothing."""
        return self.api.sdk

    def environ(self) -> dict[str, str]:
        """What a user of an SDK sets."""
        return {"OPENAI_BASE_URL": self.base_url, "OPENAI_API_KEY": self.key}

    def upload(self, content: bytes) -> str:
        """Upload an input file; gives its id."""
        return self.sdk.files.create(file=("in.jsonl", content), purpose="batch").id

    def create(self, content: bytes, **options: Any) -> Batch:
        """Upload these lines and make a batch of them."""
        wanted = {"endpoint": CHAT, "completion_window": "24h", **options}
        return self.sdk.batches.create(input_file_id=self.upload(content), **wanted)

    def ended(self, batch_id: str) -> Batch:
        """The batch once it has ended."""
        return self.reached(batch_id, *ENDED)

    def reached(self, batch_id: str, *statuses: str) -> Batch:
        """The batch once it is in one of these states."""

        def look() -> Batch | None:
            batch = self.sdk.batches.retrieve(batch_id)
            return batch if batch.status in statuses else None

        found = eventually(look, PATIENCE_S, what=lambda: self.sdk.batches.retrieve(batch_id))
        assert found is not None
        return found

    def half_done(self) -> Batch:
        """A batch that is in progress: two lines are answered, and more are slow than there are call slots."""
        slow = lines(SLOW_LINES, fault="latency-ms=1500").replace(b'"custom_id": "r', b'"custom_id": "slow')
        batch = self.create(lines(2) + slow)

        def look() -> Batch | None:
            seen = self.sdk.batches.retrieve(batch.id)
            return seen if seen.request_counts and seen.request_counts.completed >= 2 else None

        found = eventually(look, PATIENCE_S, what=lambda: self.sdk.batches.retrieve(batch.id))
        assert found is not None
        return found

    def rows(self, file_id: str | None) -> list[dict[str, Any]]:
        """The lines of an output or error file; none where there is no file."""
        if file_id is None:
            return []
        return [json.loads(row) for row in self.sdk.files.content(file_id).text.splitlines()]


@pytest.fixture(scope="session")
def stack(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack that all tests of this directory share; each makes files and batches of its own."""
    own, directory = apart(servers, "compat"), tmp_path_factory.mktemp("compat")
    with (
        open_site(own, directory, "--seed", "7") as site,
        running_api(own, directory, BATCHWRIGHT_API_MAX_FILE_BYTES=str(MAX_FILE_BYTES)) as running,
        started_worker(site, "compat", BATCHWRIGHT_WORKER_MAX_CALL_SLOTS=str(CALL_SLOTS)),
    ):
        yield Stack(running, site)
