"""`batchwright run` as a user starts it: the whole stack, a Ctrl-C, and the same command again beside another file."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.embedded.commands import python_path

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.stack]
ITEMS, DISTINCT = 240, 200


def line(number: int) -> str:
    content = f"[[sim:latency-ms=150]] Name a word that rhymes with {number % DISTINCT}."
    body = {"model": "sim-small", "messages": [{"role": "user", "content": content}]}
    return json.dumps(
        {"custom_id": f"item-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("home")
    (directory / "words.jsonl").write_text("\n".join(line(number) for number in range(ITEMS)) + "\n")
    return directory


@contextmanager
def started(home: Path, *arguments: str, **more: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "app.cli.main", *arguments]
    environ = {key: value for key, value in os.environ.items() if not key.startswith("BATCHWRIGHT_")}
    # Ten calls at once make a batch that is long enough to be interrupted.
    environ |= {"BATCHWRIGHT_DATA_DIR": str(home / "data"), "BATCHWRIGHT_WORKER_MAX_CALL_SLOTS": "10"}
    process = subprocess.Popen(
        command,
        cwd=home,
        env={**environ, "PYTHONPATH": python_path(), **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def run(home: Path, *files: str) -> tuple[int, list[dict[str, Any]], str]:
    with started(home, "run", *files, "--workers", "1", "--json") as process:
        out, err = process.communicate(timeout=60)
        return process.returncode, [json.loads(text) for text in out.splitlines()], err


def left_over(home: Path) -> list[str]:
    """Command lines of processes that belong to this data directory."""
    mark = f"BATCHWRIGHT_DATA_DIR={home / 'data'}".encode()
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            environ, command = (directory / "environ").read_bytes(), (directory / "cmdline").read_bytes()
        except OSError:
            continue
        if mark in environ.split(b"\0") or str(home / "data").encode() in command:
            found.append(command.decode(errors="replace"))
    return found


def test_ctrl_c_keeps_what_is_answered_and_leaves_no_process(home: Path) -> None:
    with started(home, "run", "words.jsonl", "--workers", "1") as process:
        assert process.stderr is not None
        for text in process.stderr:
            done = re.match(r"([\d,]+) of 240 done", text)
            if done and 0 < int(done[1]) < ITEMS:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(timeout=40) == 130
    assert "same command" in rest
    assert left_over(home) == []


def test_the_same_command_goes_on_and_another_file_is_answered_from_the_cache_so_nothing_is_paid_twice(
    home: Path,
) -> None:
    # Given a file of the same prompts, in another order: a batch of its own
    (home / "again.jsonl").write_text("\n".join(line(number) for number in reversed(range(ITEMS))) + "\n")
    code, (words, again), said = run(home, "words.jsonl", "again.jsonl")
    assert code == 0
    assert said.count("resuming batch_") == 1
    for summary, numbers in ((words, range(ITEMS)), (again, reversed(range(ITEMS)))):
        assert (summary["total"], summary["completed"], summary["failed"]) == (ITEMS, ITEMS, 0)
        answers = [json.loads(text) for text in Path(summary["output_path"]).read_text().splitlines()]
        assert [answer["custom_id"] for answer in answers] == [f"item-{number}" for number in numbers]
        assert all(answer["response"]["status_code"] == 200 and answer["error"] is None for answer in answers)
    # Then both together have paid for each prompt once, with what was paid for before the Ctrl-C.
    assert words["calls"] + again["calls"] == DISTINCT
    assert words["excess_calls"] == again["excess_calls"] == 0
    assert again["cached"] > 0, "what the first run has paid for"
    assert left_over(home) == []
