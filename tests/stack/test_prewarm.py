"""A worker has its Ollama model loaded before anybody asks: the first answer is no slower than the tenth."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.batches import chat_line
from tests.support.eventually import eventually
from tests.support.servers import TestServers
from tests.support.workers import open_site, started_worker

pytestmark = [pytest.mark.integration, pytest.mark.stack]
COLD_MS = 1_000.0


def test_the_first_answer_after_a_workers_start_is_no_slower_than_the_tenth(
    servers: TestServers, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("prewarm")
    with open_site(servers, directory, "--cold-start-ms", str(COLD_MS)) as site:
        settings = {
            "OLLAMA_HOST": site.simulator.url,
            "OLLAMA_MODEL_FAST": "sim-small",
            "OLLAMA_KEEP_ALIVE": "24h",
            "OLLAMA_NUM_PARALLEL": "1",
        }
        with started_worker(site, "w1", **settings) as worker:
            # given a worker that has started while the model was loading
            (load,) = eventually(lambda: _of_ollama(site.simulator.calls()), 20.0)
            assert (load["endpoint"], load["model"]) == ("/api/generate", "sim-small")
            assert load["duration_ms"] >= COLD_MS
            # when ten prompts are asked, one after the other
            lines = [chat_line(f"c{n}", f"question {n}", model="ollama/sim-small") for n in range(10)]
            assert site.ended(site.submit(lines))["counts"]["completed"] == 10
            # then none of them waits for the model
            _, *answers = _of_ollama(site.simulator.calls())
            took_ms = [call["duration_ms"] for call in answers]
            assert len(took_ms) == 10 and max(took_ms) < COLD_MS, took_ms
            assert worker.log_path.read_text().count("model sim-small of ollama is loaded") == 1


def _of_ollama(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [call for call in calls if call["provider"] == "ollama"]
