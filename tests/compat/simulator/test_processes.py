"""Simulators of a test's own, each a process: limits, the key, a seed, the call log, its start and its end."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

from tests.integration.simulator.test_process import CHAT, chat, h2
from tests.support.late import Late
from tests.support.simulator import ROOT, running_simulator

if TYPE_CHECKING:
    import openai
else:
    openai = Late("openai")

pytestmark = pytest.mark.compat


async def test_many_streams_on_several_http2_connections_are_all_answered(tmp_path: Path) -> None:
    with running_simulator(tmp_path, "--latency-ms", "200") as own:
        clients = [h2(own.url) for _ in range(4)]
        began = time.monotonic()
        calls = [clients[k % 4].post(CHAT, json=chat(f"stream {k}")) for k in range(400)]
        replies = await asyncio.gather(*calls)
        took_s = time.monotonic() - began
        for each in clients:
            await each.aclose()
        assert {(reply.status_code, reply.http_version) for reply in replies} == {(200, "HTTP/2")}
        assert len({reply.json()["choices"][0]["message"]["content"] for reply in replies}) == 400
        assert took_s < 20 * 0.2  # far less than one after the other; at once but for the client's own work
        assert len(own.calls()) == 400
        assert psutil.Process(own.process.pid).memory_info().rss < 60 * 1024 * 1024


async def test_limits_refuse_with_the_true_headers_and_do_not_charge_the_refused(tmp_path: Path) -> None:
    with running_simulator(tmp_path, "--rpm", "3", "--tpm", "100000") as own:
        async with httpx.AsyncClient(base_url=own.url) as http:
            replies = [await http.post(CHAT, json=chat(f"limit {k}")) for k in range(5)]
        assert [reply.status_code for reply in replies] == [200, 200, 200, 429, 429]
        assert [reply.headers["x-ratelimit-remaining-requests"] for reply in replies] == list("21000")
        spent = replies[0].json()["usage"]["total_tokens"]
        assert int(replies[0].headers["x-ratelimit-remaining-tokens"]) == 100_000 - spent
        last = replies[4]
        assert last.headers["x-ratelimit-limit-requests"] == "3"
        assert 0 < int(last.headers["retry-after-ms"]) <= 20_000
        assert int(last.headers["retry-after"]) == -(-int(last.headers["retry-after-ms"]) // 1000)
        assert last.json()["error"]["type"] == "requests"
        assert last.json()["error"]["code"] == "rate_limit_exceeded"
        assert [call["status"] for call in own.calls()] == [200, 200, 200, 429, 429]


def test_a_wanted_key_is_wanted_everywhere_but_at_health(tmp_path: Path) -> None:
    with running_simulator(tmp_path, "--api-key", "sk-right-key-of-the-simulator") as own:
        right = openai.OpenAI(base_url=own.base_url, api_key="sk-right-key-of-the-simulator")
        assert right.chat.completions.create(**chat("hello")).choices
        wrong = openai.OpenAI(base_url=own.base_url, api_key="sk-wrong-key-of-the-simulator")
        with pytest.raises(openai.AuthenticationError) as caught:
            wrong.chat.completions.create(**chat("hello"))
        assert caught.value.code == "invalid_api_key" and "wrong-key" not in str(caught.value)
        with pytest.raises(openai.AuthenticationError):
            wrong.models.list()
        assert httpx.get(f"{own.url}/health").status_code == 200
        assert httpx.get(f"{own.url}/v1/models").status_code == 401


async def test_faults_and_settings_of_a_file_hold_and_repeat_with_the_seed(tmp_path: Path) -> None:
    config = tmp_path / "simulator.toml"
    config.write_text('seed = 3\nall_models = true\n[[faults]]\nfault = "status=503"\nrate = 0.3\n')
    seen = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        with running_simulator(tmp_path / name, "--config", str(config)) as own:
            async with openai.AsyncOpenAI(base_url=own.base_url, api_key="x", max_retries=0) as sdk:
                for k in range(40):
                    try:
                        await sdk.chat.completions.create(**{**chat(f"draw {k}"), "model": "any-model"})
                    except openai.InternalServerError:
                        continue
            seen.append([call["status"] for call in own.calls()])
    assert seen[0] == seen[1]
    assert 4 <= seen[0].count(503) <= 20 and seen[0].count(200) + seen[0].count(503) == 40


def test_a_call_whose_client_was_killed_is_still_logged(tmp_path: Path) -> None:
    with running_simulator(tmp_path, "--latency-ms", "300") as own:
        script = (
            "import httpx,sys,json\nprint('go', flush=True)\n"
            f"httpx.post('{own.url}{CHAT}', json=json.loads(sys.argv[1]))\n"
        )
        client = subprocess.Popen(
            [sys.executable, "-c", script, json.dumps(chat("orphan"))], stdout=subprocess.PIPE
        )
        assert client.stdout is not None and client.stdout.readline()
        _until(lambda: bool(psutil.Process(client.pid).net_connections()))
        # A second call right behind proves that the first had been read before its client died.
        httpx.post(f"{own.url}{CHAT}", json=chat("witness"))
        client.kill()
        client.wait()
        client.stdout.close()
        httpx.post(f"{own.url}{CHAT}", json=chat("later"))
        assert len(own.calls()) == 3


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
async def test_it_stops_within_a_second_and_logs_the_calls_it_cut_short(
    tmp_path: Path, sent: signal.Signals
) -> None:
    with running_simulator(tmp_path, "--latency-ms", "60000") as own:
        async with h2(own.url) as http, h2(own.url) as other:
            slow = asyncio.create_task(http.post(CHAT, json=chat("slow")))
            hang = asyncio.create_task(http.post(CHAT, json=chat("hang"), headers={"x-sim-fault": "hang"}))
            async with asyncio.timeout(10):
                while not own.calls():
                    await other.get("/health")
            began = time.monotonic()
            code = await asyncio.to_thread(own.stop, sent)
            took_s = time.monotonic() - began
            await asyncio.gather(slow, hang, return_exceptions=True)
        assert code == 0
        assert took_s < 1.5
        assert {(call["status"], call["fault"]) for call in own.calls()} == {(0, "hang"), (503, None)}
        assert (tmp_path / "stderr.txt").read_text() == ""


def test_two_simulators_never_share_a_port(tmp_path: Path) -> None:
    with running_simulator(tmp_path) as own:
        port = own.url.rpartition(":")[2]
        command = [sys.executable, "-m", "app.simulator", "--port", port]
        second = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=20)
        assert second.returncode == 2 and "the port is taken" in second.stderr
        assert httpx.get(f"{own.url}/health").json()["pid"] == own.process.pid


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_log_that_can_no_longer_be_written_ends_the_simulator() -> None:
    command = [sys.executable, "-m", "app.simulator", "--port", "0", "--json", "--log", "/dev/full"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        url = json.loads(process.stdout.readline())["url"]
        httpx.post(f"{url}{CHAT}", json=chat("lost"))
        assert process.wait(timeout=10) == 2
        assert "cannot write the call log /dev/full: No space left" in process.stderr.read()


def test_clients_that_leave_in_the_middle_leave_no_noise_and_whole_requests_are_logged(
    tmp_path: Path,
) -> None:
    with running_simulator(tmp_path, "--stream-chunk-ms", "20") as own:
        host, _, port = own.url.removeprefix("http://").rpartition(":")
        for http2 in (False, True):
            with (
                httpx.Client(base_url=own.url, http1=not http2, http2=http2) as http,
                http.stream("POST", CHAT, json=chat("stream", stream=True)) as reply,
            ):
                assert next(reply.iter_bytes())
        with socket.create_connection((host, int(port))) as half:
            half.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf")
        assert httpx.get(f"{own.url}/health").status_code == 200
        assert own.stop() == 0
        assert [call["status"] for call in own.calls()] == [200, 200]
        assert (tmp_path / "stderr.txt").read_text() == ""


def _until(holds: Any, within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError("did not happen in time")
