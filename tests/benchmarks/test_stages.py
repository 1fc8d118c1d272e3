"""What each stage of an item costs, without a server: `make benchmark` times them for docs/performance.md.

Every stage is run on what the stage before it gives, for a request of 300 bytes and an answer of 600.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import bson
import orjson
import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from config.settings import load_settings
from tests.support.batches import chat_line
from tests.support.engine import ScriptedTransport
from workers import wiring
from workers.core.messages import HttpRequest, HttpResponse, Item, Result
from workers.core.tally import Tally
from workers.engine import pipeline
from workers.engine.ports import Link
from workers.engine.work import Answered, Work
from workers.store.cache_entry import Codec
from workers.store.results import Results, record

pytestmark = pytest.mark.benchmark
RAW = chat_line("ticket-17", "Classify this parcel's fate in one word, please: " + "it never came. " * 10)
SECRET = b"s" * 32
MESSAGE = {"role": "assistant", "content": "It is lost. " * 30, "refusal": None}
USAGE = {"prompt_tokens": 50, "completion_tokens": 40, "prompt_tokens_details": {"cached_tokens": 0}}
BODY = orjson.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "sim-small",
        "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}],
        "usage": USAGE,
    }
)
ANSWER = HttpResponse(200, {"content-type": "application/json", "x-request-id": "req_1"}, BODY)


class AtOnce(ScriptedTransport):
    """Answers without a network."""

    async def send(self, request: HttpRequest, *, deadline_s: float) -> HttpResponse:
        return ANSWER


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Link:
    nothing = tmp_path_factory.mktemp("stages") / "empty.env"
    Path(nothing).touch()
    settings = load_settings({"BATCHWRIGHT_SIMULATOR_URL": "http://127.0.0.1:9"}, dotenv=nothing)
    return replace(wiring.links(settings, settings.providers)["sim"], transport=AtOnce())


@pytest.fixture
def work(link: Link) -> Work:
    made = prepared(link)
    assert isinstance(made, Work)
    return made


@pytest.fixture
def answered(work: Work, link: Link) -> Answered:
    outcome = asyncio.run(pipeline.make_call(work, link))
    assert isinstance(outcome, Answered)
    return outcome


def prepared(link: Link) -> Work | Result:
    batch: dict[str, Any] = {"options": {"cache": True}, "endpoint": "/v1/chat/completions"}
    return pipeline.prepare(RAW, Item(1, 0, len(RAW)), batch=batch, link=link, secret=SECRET, generation=1)


def test_read_the_line_and_name_the_request(benchmark: BenchmarkFixture, link: Link) -> None:
    assert isinstance(benchmark(prepared, link), Work)


def test_estimate_its_tokens(benchmark: BenchmarkFixture, link: Link) -> None:
    def estimate() -> int:
        made = prepared(link)
        assert isinstance(made, Work)
        return made.est_tokens

    assert benchmark(estimate) > 0


def test_build_call_and_read_a_hundred(benchmark: BenchmarkFixture, work: Work, link: Link) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:

        async def hundred() -> int:
            calls = [asyncio.create_task(pipeline.make_call(work, link)) for _ in range(100)]
            return sum(isinstance(one, Answered) for one in await asyncio.gather(*calls))

        assert benchmark(lambda: runner.run(hundred())) == 100


def test_make_the_result_and_measure_its_line(
    benchmark: BenchmarkFixture, work: Work, answered: Answered
) -> None:
    tally = Tally()

    def kept() -> int:
        result = pipeline.answered(work, answered)
        made = record("batch_1", "default", "batch_1.000001", 1, result)
        tally.add(result, made.line_bytes)
        return made.line_bytes

    assert benchmark(kept) > len(BODY)


def test_pack_for_the_cache(benchmark: BenchmarkFixture, answered: Answered) -> None:
    codec = Codec(compress_over_bytes=2048, max_body_bytes=1 << 18)
    assert benchmark(codec.pack, answered.reply)


def test_unpack_from_the_cache(benchmark: BenchmarkFixture, answered: Answered) -> None:
    codec = Codec(compress_over_bytes=2048, max_body_bytes=1 << 18)
    entry = codec.pack(answered.reply)
    assert entry is not None and benchmark(codec.unpack, entry) == answered.reply


def test_make_the_document(benchmark: BenchmarkFixture, work: Work, answered: Answered) -> None:
    results = Results({"batch_results": None}, None)  # type: ignore[arg-type]
    made = record("batch_1", "default", "batch_1.000001", 1, pipeline.answered(work, answered))
    assert benchmark(lambda: bson.encode(results._to_doc(made)))
