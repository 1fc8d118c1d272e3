"""A provider in a thread of the test process that answers as the simulator does, and breaks as a row wants it.

    with odd_provider(tmp_path / "arena", seed) as odd:
        odd.rule = lambda call: call.hang() if call.times == 1 else call.answer()
        arena = arena_of(Rules(seed, environ=odd.environ()))
        arena.tenants["one"].model = ODD_MODEL

HTTP/2 over TLS, as real providers speak it; a provider of kind `openai` named `odd`. What it answers is f(prompt), and
its calls stand in the same log as the simulator's, so that the oracle sees one provider. What is done to a call is
done in the server's thread; `rule` may be changed from any.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import h2.events
import h2.exceptions
import orjson
import trustme
from h2.errors import ErrorCodes

from app.simulator.calllog import CallLog, CallRecord
from app.simulator.config import SimulatorConfig
from app.simulator.dialect import Inbound
from app.simulator.simulation import Plan, Simulation
from tests.support.hostile import Port
from tests.support.hostile_h2 import Headers, Http2

ODD_MODEL = "odd-1"
_LIMIT_S = 10.0
_JSON = ("content-type", "application/json")
_PROVIDER = """
[providers.odd]
kind = "openai"
base_url = "{url}/v1"
models = ["odd-*"]
timeouts = {{ read_s = {read_s} }}
"""


@dataclass(slots=True)
class OddCall:
    """A call that has arrived, and what can be done to it: one of the methods, once.

    Attributes:
        number: of all calls, counted from 1; `times`: of this very request.
        on: which connection it came on, counted from 1; `nth_on`: the how manieth call there.
        said: what became of it, in a word or a status; empty as long as nothing has.
        at, ended_at: Unix seconds; `ended_at` 0 until it was said.
    """

    prompt: str
    number: int
    times: int
    on: int
    nth_on: int
    at: float
    said: str = ""
    ended_at: float = 0.0
    _of: _Exchange = field(repr=False, kw_only=True)

    def answer(self, after_s: float | None = None) -> None:
        """f(prompt), after the usual time."""
        self._of.later(self._of.provider.latency_s if after_s is None else after_s, self._answer)

    def _answer(self) -> None:
        self._end("200", 200)
        self._of.send(self._of.plan.body)

    def answer_with(self, extra: bytes) -> None:
        """f(prompt), and one more field in the object: `"name": value`."""
        self._end("200", 200)
        self._of.send(self._of.plan.body[:-1] + b"," + extra + b"}")

    def talk_nonsense(self, body: bytes | Iterator[bytes], headers: Headers | None = None) -> None:
        """Status 200 around something else."""
        self._end("nonsense", 200, fault="nonsense")
        self._of.send(body, headers)

    def refuse(self, status: int, headers: Headers | None = None) -> None:
        """An error of that status."""
        self._end(str(status), status, fault=f"status={status}")
        error = {"message": f"status {status}", "type": "requests", "param": None, "code": None}
        self._of.send(orjson.dumps({"error": error}), headers, status=status)

    def hang(self) -> None:
        """Never answer; the call may have been made."""
        self._end("hang", 0, fault="hang")

    def hold(self) -> None:
        """Answer when the provider is told to `release`."""
        self.said = "held"
        self._of.provider.held.append(self)

    def reset(self) -> None:
        """RST_STREAM: this one alone."""
        self._end("reset", 0, fault="reset")
        self._of.connection.reset(self._of.stream)

    def close(self) -> None:
        """End the connection, and with it every call on it that has no answer yet."""
        self._end("close", 0, fault="close")
        self._of.connection.close()

    def goaway(self) -> None:
        """GOAWAY: this call and later ones of the connection are not looked at, earlier ones are answered."""
        self.said, self.ended_at = "goaway", time.time()
        self._of.connection.goaway(max(0, self._of.stream - 2))

    def _end(self, said: str, status: int, *, fault: str | None = None) -> None:
        self.said, self.ended_at = said, time.time()
        self._of.witness(self, status, fault)


Rule = Callable[[OddCall], None]


class OddProvider:
    """A running one.

    Attributes:
        calls: as they arrived; grows in the server's thread.
        held: calls that wait for `release`.
    """

    def __init__(self, directory: Path, seed: int, latency_ms: float) -> None:
        authority = trustme.CA()
        directory.mkdir(parents=True, exist_ok=True)
        self._ca_file = directory / "odd-ca.pem"
        authority.cert_pem.write_to_path(str(self._ca_file))
        self._directory, self.latency_s = directory, latency_ms / 1000
        self.rule: Rule = lambda call: call.answer()
        self.calls: list[OddCall] = []
        self.held: list[OddCall] = []
        self.times: Counter[str] = Counter()
        self.log = CallLog(directory / "calls.jsonl")
        self.simulation = Simulation(SimulatorConfig(seed=seed, all_models=True), instance="odd")
        self.loop = asyncio.new_event_loop()
        self.port = Port(self.loop, "tls-h2", 100)
        self.tls = _tls(authority)
        self.connections = 0

    def environ(self, *, read_s: float = 60.0, more: str = "") -> dict[str, str]:
        """The settings of processes that shall know it. `more`: TOML for the same file."""
        path = self._directory / "batchwright.toml"
        path.write_text(_PROVIDER.format(url=self.port.url, read_s=read_s) + more, encoding="utf-8")
        return {"BATCHWRIGHT_CONFIG": str(path), "BATCHWRIGHT_HTTP_CA_FILE": str(self._ca_file)}

    def release(self) -> None:
        """Answer every call that is held."""

        def give() -> None:
            held, self.held = self.held, []
            for call in held:
                call.answer(0.0)

        self.loop.call_soon_threadsafe(give)

    def said(self, what: str) -> list[OddCall]:
        """The calls that ended in that way."""
        return [call for call in list(self.calls) if call.said == what]

    def of(self, prompts: Sequence[str]) -> dict[str, list[OddCall]]:
        """The calls of each of these prompts."""
        by_prompt: dict[str, list[OddCall]] = {prompt: [] for prompt in prompts}
        for call in list(self.calls):
            if call.prompt in by_prompt:
                by_prompt[call.prompt].append(call)
        return by_prompt


@dataclass(slots=True)
class _Exchange:
    provider: OddProvider
    connection: _Connection
    stream: int
    plan: Plan

    def later(self, after_s: float, what: Callable[[], None]) -> None:
        self.provider.loop.call_later(after_s, what)

    def send(self, body: bytes | Iterator[bytes], headers: Headers | None = None, status: int = 200) -> None:
        self.connection.say(self.stream, body, [_JSON, *(headers or [])], status)

    def witness(self, call: OddCall, status: int, fault: str | None) -> None:
        """The line of the log, written before anything is sent: whoever has an answer finds it there."""
        self.provider.log.write(
            CallRecord(
                time=call.at,
                provider="odd",
                model=self.plan.model,
                prompt_hash=self.plan.prompt_hash,
                status=status,
                endpoint="/v1/chat/completions",
                stream=False,
                duration_ms=(time.time() - call.at) * 1000,
                request_id=self.plan.request_id,
                fault=fault,
                prompt_tokens=self.plan.prompt_tokens,
                completion_tokens=self.plan.completion_tokens,
            )
        )


class _Connection(Http2):
    """The hostile server's connection, with bodies that are read and rules in place of paths."""

    def __init__(self, provider: OddProvider) -> None:
        super().__init__(provider.port)
        self._provider, self._read = provider, dict[int, bytearray]()
        provider.connections += 1
        self._number, self._came = provider.connections, 0
        self._last_stream: int | None = None

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.DataReceived):
            self._read.setdefault(event.stream_id or 0, bytearray()).extend(event.data or b"")
        if isinstance(event, h2.events.StreamEnded):
            if self._last_stream is None or event.stream_id <= self._last_stream:
                self._came_whole(event.stream_id)
        else:
            super()._take(event)

    def say(self, stream: int, body: bytes | Iterator[bytes], headers: Headers, status: int) -> None:
        """An answer, if anybody is still there."""
        with suppress(h2.exceptions.ProtocolError):
            self.answer(stream, body, headers, status)

    def reset(self, stream: int) -> None:
        with suppress(h2.exceptions.ProtocolError):
            self.h2.reset_stream(stream, ErrorCodes.INTERNAL_ERROR)
        self.flush()

    def close(self) -> None:
        self.transport.abort()

    def goaway(self, last_stream: int, error: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Once; what was begun above it is not looked at."""
        if self._last_stream is None:
            self._last_stream = last_stream
            super().goaway(last_stream, error)

    def _came_whole(self, stream: int) -> None:
        provider, body = self._provider, bytes(self._read.pop(stream, b""))
        inbound = Inbound("POST", self.requests.pop(stream)[":path"], body, {})
        plan = provider.simulation.decide(inbound, now=time.monotonic(), unix_s=int(time.time()))
        self._came += 1
        provider.times[plan.prompt_hash] += 1
        call = OddCall(
            prompt=str(orjson.loads(body)["messages"][-1]["content"]),
            number=len(provider.calls) + 1,
            times=provider.times[plan.prompt_hash],
            on=self._number,
            nth_on=self._came,
            at=time.time(),
            _of=_Exchange(provider, self, stream, plan),
        )
        provider.calls.append(call)
        provider.rule(call)


def _tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    context.set_alpn_protocols(["h2"])
    return context


@contextmanager
def odd_provider(directory: Path, seed: int, *, latency_ms: float = 20.0) -> Iterator[OddProvider]:
    """Start one that logs into the arena's directory, yield it, end it."""
    provider = OddProvider(directory, seed, latency_ms)
    loop = provider.loop
    server = loop.run_until_complete(
        loop.create_server(lambda: _Connection(provider), "127.0.0.1", 0, ssl=provider.tls, backlog=512)
    )
    provider.port.url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
    thread = threading.Thread(target=loop.run_forever, name="odd-provider", daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=_LIMIT_S)
        loop.close()
        provider.log.close()
