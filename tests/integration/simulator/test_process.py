"""The session's simulator, a process: faults on the wire, its call log, and why it does not start.

What wants a simulator of its own, with limits, a key, a seed or an end, is in tests/compat/simulator/test_processes.py.
"""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.simulator.__main__ import main
from tests.support.simulator import Simulator

CHAT = "/v1/chat/completions"
pytestmark = pytest.mark.integration


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "sim-small", "messages": [{"role": "user", "content": text}], **more}


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    return True


def h2(url: str, timeout_s: float = 20.0) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, http1=False, http2=True, timeout=timeout_s)


@pytest.mark.parametrize("fault", ["truncated", "invalid-json", "empty", "html", "html;status=502"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_spoiled_body_is_whole_http_but_no_json(
    simulator: Simulator, fault: str, stream: bool
) -> None:
    async with h2(simulator.url) as http:
        reply = await http.post(
            CHAT, json=chat(f"spoil {fault}", stream=stream), headers={"x-sim-fault": fault}
        )
    assert reply.status_code == (502 if "502" in fault else 200)
    assert ("text/html" in reply.headers["content-type"]) == fault.startswith("html")
    if stream and not fault.startswith("html"):
        assert not fault.startswith(("truncated", "empty")) or b"[DONE]" not in reply.content
    parts = reply.text.split("data: ")[1:] or [reply.text]
    assert not all(is_json(part) for part in parts if part != "[DONE]\n\n")


async def test_a_huge_answer_is_valid_and_as_large_as_asked(simulator: Simulator) -> None:
    async with h2(simulator.url) as http:
        reply = await http.post(CHAT, json=chat("big"), headers={"x-sim-fault": "huge=1048576"})
    assert len(reply.content) >= 1_048_576
    answer = reply.json()
    text = answer["choices"][0]["message"]["content"]
    assert answer["usage"]["completion_tokens"] == -(-len(text) // 4)


async def test_a_429_says_when_to_return_only_if_asked_to(simulator: Simulator) -> None:
    async with httpx.AsyncClient(base_url=simulator.url) as http:
        told = await http.post(CHAT, json=chat("a"), headers={"x-sim-fault": "status=429;retry-after=2"})
        untold = await http.post(CHAT, json=chat("a"), headers={"x-sim-fault": "status=429"})
        wrong = await http.post(CHAT, json=chat("a"), headers={"x-sim-fault": "status=wild"})
    assert told.headers["retry-after"] == "2" and "retry-after-ms" not in told.headers
    assert "retry-after" not in untold.headers and untold.status_code == 429
    assert wrong.status_code == 400 and "status is a number from 400 to 599" in wrong.text


async def test_a_hang_is_logged_while_it_hangs_and_harms_no_other_stream(simulator: Simulator) -> None:
    async with h2(simulator.url) as http, h2(simulator.url) as other:
        hanging = asyncio.create_task(http.post(CHAT, json=chat("stuck"), headers={"x-sim-fault": "hang"}))
        async with asyncio.timeout(10):
            while not any(call["fault"] == "hang" and call["status"] == 0 for call in simulator.calls()):
                assert (await other.post(CHAT, json=chat("meanwhile"))).status_code == 200
        assert not hanging.done()
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
        assert (await other.post(CHAT, json=chat("after"))).status_code == 200


def test_a_taken_port_a_wrong_flag_and_an_unwritable_log_are_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.toml").write_text("prot = 1\n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for flags, words in (
            (["--port", port], "the port is taken"),
            (["--port", "0", "--log", str(tmp_path)], "cannot write the call log"),
            (["--config", str(tmp_path / "bad.toml")], "unknown setting 'prot'"),
            (["--port", "99999"], "port is a number from 0 to 65535"),
            (["--fault", "status=500"], "FAULT@RATE"),
        ):
            assert main(flags) == 2, flags
            told = capsys.readouterr().err
            assert words in told and told.count("\n") == 1
