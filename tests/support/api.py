"""The API as a process of its own on the test servers, and the shortest honest way to bring a batch to its end.

A conftest imports the fixture: `from tests.support.api import api`. Without workers a batch stays validating;
`Work` does with the stores what planner, worker and finalizer do.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.apart import apart
from tests.support.eventually import eventually
from tests.support.late import Late
from tests.support.servers import TestServers
from tests.support.truth import Truth, truth_of
from workers.core import states
from workers.core.identity import new_api_key, shard_id, view_file_id
from workers.core.messages import Item, ItemError, Result, ShardPlan, Usage
from workers.store.api_keys import ApiKeys
from workers.store.batches import Batches
from workers.store.blobs import Blobs
from workers.store.budgets import Budgets
from workers.store.files import Files
from workers.store.mongo import Db, Doc, connect
from workers.store.results import Results, record
from workers.store.shard_docs import shard_doc
from workers.store.shards import Shards
from workers.store.tenants import Tenants

if TYPE_CHECKING:
    import openai
    from openai import OpenAI
else:
    openai = Late("openai")

ROOT = Path(__file__).resolve().parents[2]
MAX_FILE_BYTES = 3_000_000


class Work:
    """What workers do to a batch, by the same stores."""

    def __init__(self, db: Db) -> None:
        self.db = db
        blobs = Blobs(db)
        self.batches, self.shards, self.files = Batches(db), Shards(db), Files(db, blobs)
        self.results, self.budgets = Results(db, blobs), Budgets(db)

    def start(self, batch_id: str, total: int, provider: str = "sim") -> Doc:
        """validating -> in_progress with one shard that may run."""
        batch = self.batches.claim_plan(batch_id, "test", 60.0)
        assert batch is not None
        fence = batch["plan"]["fence"]
        items = tuple(Item(line, 0, 1) for line in range(1, total + 1))
        plan = ShardPlan(seq=0, provider=provider, items=items, est_tokens=total, bytes=total)
        self.shards.insert_missing([shard_doc(shard_id(batch_id, 0), plan, batch)])
        assert self.batches.start(batch_id, fence, total=total, model="sim-small", repeats=0)
        self.shards.open(batch_id)
        self.batches.opened(batch_id, fence)
        return batch

    def record(self, batch_id: str, results: Sequence[Result]) -> str:
        """Claim the batch's shard and record these results under it; gives the shard's id."""
        claimed = self.shards.claim(shard_id(batch_id, 0), "test", 60.0)
        assert claimed is not None
        records = [
            record(batch_id, claimed["tenant"], claimed["_id"], claimed["fence"], each) for each in results
        ]
        assert self.results.insert(records) == []
        self.shards.save_tallies({(claimed["_id"], claimed["fence"]): self.results.tally(batch_id)})
        return str(claimed["_id"])

    def end(self, batch_id: str, move: states.Move[states.BatchStatus]) -> None:
        """The final state with its files, as the finalizer writes it."""
        batch = self.batches.get(batch_id)
        assert batch is not None
        tally = self.results.tally(batch_id)
        final: Doc = {"counts": self.shards.summed(batch_id).as_dict(tally)}
        for which, size_bytes in (("output", tally.output_bytes), ("error", tally.error_bytes)):
            if size_bytes:
                file_id = view_file_id(batch_id, which)
                self.files.put_view(file_id, batch["tenant"], batch_id, which=which, size_bytes=size_bytes)
                final[f"{which}_file_id"] = file_id
        assert self.batches.end(move, batch_id, final)

    def complete(self, batch_id: str, results: Sequence[Result]) -> None:
        """Everything from validating to completed."""
        self.start(batch_id, len(results))
        self.record(batch_id, results)
        assert self.batches.finalize(batch_id)
        self.end(batch_id, states.COMPLETE)


def answered(line: int, text: str = "yes", **changed: Any) -> Result:
    """A recorded answer."""
    body = json.dumps({"object": "chat.completion", "choices": [{"message": {"content": text}}]}).encode()
    return Result(
        line=line,
        custom_id=f"r{line}",
        source="call",
        status_code=200,
        body=body,
        request_id=f"req_{line}",
        model="sim-small",
        usage=Usage(10, 5),
        calls=1,
        **changed,
    )


def refused(line: int, status: int = 400) -> Result:
    """A recorded HTTP failure of the provider."""
    body = json.dumps({"error": {"message": "no", "type": "t", "param": None, "code": "c"}}).encode()
    return Result(line=line, custom_id=f"r{line}", source="call", status_code=status, body=body, calls=1)


def never_ran(line: int, code: str) -> Result:
    """A closing row."""
    return Result(line=line, custom_id=f"r{line}", source="none", error=ItemError(code, "did not run"))


@dataclass(frozen=True)
class Api:
    """A running API: where it is, keys of two tenants, the stores and the settings behind it."""

    url: str
    key: str
    other_key: str
    work: Work
    environ: Mapping[str, str] = field(repr=False)
    log_path: Path
    # Kept: making a client loads certificates, which takes longer than most tests.
    connection: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=20), repr=False)
    sdks: dict[tuple[str, int], OpenAI] = field(default_factory=dict, repr=False)

    @property
    def sdk(self) -> OpenAI:
        """The official SDK, strict about every field; it repeats nothing."""
        return self.sdk_of(self.key)

    def sdk_of(self, key: str, *, max_retries: int = 0) -> OpenAI:
        """The same for another key, or with its repeats on."""
        if (key, max_retries) not in self.sdks:
            self.sdks[key, max_retries] = openai.OpenAI(
                api_key=key,
                base_url=f"{self.url}/v1",
                max_retries=max_retries,
                _strict_response_validation=True,
            )
        return self.sdks[key, max_retries]

    def call(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **options: Any
    ) -> httpx.Response:
        """Raw HTTP with the first tenant's key."""
        sent = {"authorization": f"Bearer {self.key}", **(headers or {})}
        return self.connection.request(method, self.url + path, headers=sent, **options)

    def input_file(self, lines: int = 2, *, key: str | None = None) -> str:
        """Upload a good input file; gives its id."""
        content = b"".join(input_line(number) for number in range(1, lines + 1))
        sdk = self.sdk_of(key or self.key)
        return sdk.files.create(file=("in.jsonl", content), purpose="batch").id

    def batch(self, **changed: Any) -> str:
        """Create a batch; gives its id."""
        wanted: dict[str, Any] = {
            "input_file_id": changed.pop("input_file_id", None) or self.input_file(),
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            **changed,
        }
        return self.sdk.batches.create(**wanted).id


def input_line(number: int) -> bytes:
    """One good line."""
    body = {"model": "sim-small", "messages": [{"role": "user", "content": f"question {number}"}]}
    request = {"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(request).encode() + b"\n"


@contextmanager
def running_api(servers: TestServers, directory: Path, **settings: str) -> Iterator[Api]:
    """Start one, yield it once it listens, end it."""
    ready, keys = directory / "api.ready", (new_api_key(), new_api_key())
    (directory / "api_key").write_text(keys[0])
    environ = {
        **os.environ,
        **servers.environ(),
        "BATCHWRIGHT_API_MAX_FILE_BYTES": str(MAX_FILE_BYTES),
        # How full the disk of the machine that tests is must not decide a test.
        "BATCHWRIGHT_DISK_STOP_PERCENT": "100",
        # Receivers of webhooks are in the test's own process.
        "BATCHWRIGHT_WEBHOOK_ALLOW_HTTP": "true",
        "BATCHWRIGHT_WEBHOOK_ALLOW_PRIVATE": "127.0.0.1",
        "BATCHWRIGHT_READY_FILE": str(ready),
        # Whatever may ever be logged is looked through for secrets.
        "BATCHWRIGHT_LOG_LEVEL": "debug",
        **settings,
    }
    log_path = directory / "api.log"
    with log_path.open("wb") as log:
        command = [sys.executable, "-m", "app.api", "--port", "0", "--key-file", str(directory / "api_key")]
        process = subprocess.Popen(command, cwd=ROOT, env=environ, stderr=log)
    client = connect(servers.mongodb_url)
    try:
        url = _listening_at(process, ready, log_path)
        db = client[servers.mongodb_database]
        tenants = Tenants(db)
        tenants.ensure("other")
        ApiKeys(db).add("other", keys[1], name="test")
        running = Api(url, keys[0], keys[1], Work(db), servers.environ(), log_path)
        running.connection.event_hooks = {"response": [_held_to_the_document(url)]}
        with running.connection:
            yield running
            for sdk in running.sdks.values():
                sdk.close()
    finally:
        began = time.monotonic()
        code = stop(process)
        took_s = time.monotonic() - began
        client.close()
    assert (code, took_s < 2.5) == (0, True), f"exit code {code} after {took_s:.1f} s"


def _held_to_the_document(url: str) -> Callable[[httpx.Response], None]:
    """Let no reply pass that the API's OpenAPI document does not tell of."""
    found: list[Truth] = []

    def hold(response: httpx.Response) -> None:
        if not found:
            found.append(truth_of(httpx.get(f"{url}/openapi.json", timeout=20).content))
        found[0].check(response)

    return hold


def _listening_at(process: subprocess.Popen[bytes], ready: Path, log_path: Path) -> str:
    eventually(lambda: ready.exists() or process.poll() is not None, 30, what=log_path.read_text)
    if process.poll() is not None:
        pytest.fail(f"the API did not start: {log_path.read_text()}")
    return next(word for word in log_path.read_text().split() if word.startswith("http://"))


def stop(process: subprocess.Popen[bytes]) -> int:
    """End it; gives its exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


@pytest.fixture(scope="session")
def api(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One API for all tests of this process; each test uses objects of its own."""
    own = apart(servers, "api")
    with running_api(own, tmp_path_factory.mktemp("api")) as running:
        yield running
