"""Every program under docs/ and the README's is run as it stands, against the running stack."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.compat.conftest import Stack, line, lines
from tests.compat.node_sdk import run_script

pytestmark = pytest.mark.compat
ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
IDS = ["ticket-1", "ticket-2", "ticket-3"]
LIMIT_S = 60


def run(stack: Stack, directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, **stack.environ()}
    return subprocess.run(
        command, cwd=directory, env=environ, capture_output=True, text=True, timeout=LIMIT_S
    )


def python(stack: Stack, directory: Path, *words: str) -> str:
    done = run(stack, directory, sys.executable, str(EXAMPLES / words[0]), *words[1:])
    assert done.returncode == 0, done.stderr
    return done.stdout


def node(stack: Stack, directory: Path, script: str, *words: str) -> str:
    return run_script(EXAMPLES / script, directory, stack.environ(), *words)


def shell(stack: Stack, directory: Path, *words: str) -> str:
    for program in ("curl", "jq"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no `{program}` here")
    done = run(stack, directory, "sh", str(EXAMPLES / words[0]), *words[1:])
    assert done.returncode == 0, done.stderr
    return done.stdout


Runner = Callable[..., str]
ONE_FILE: dict[str, Runner] = {"batch.py": python, "batch.mjs": node, "batch.sh": shell}


@pytest.mark.parametrize("example", ONE_FILE)
def test_an_example_answers_a_file(stack: Stack, tmp_path: Path, example: str) -> None:
    shutil.copy(EXAMPLES / "prompts.jsonl", tmp_path)
    said = ONE_FILE[example](stack, tmp_path, example, "prompts.jsonl", "answers.jsonl")
    rows = [json.loads(row) for row in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [row["custom_id"] for row in rows] == IDS
    assert said.startswith("batch_") and "completed" in said
    assert not (tmp_path / "answers.jsonl.errors").exists()


@pytest.mark.parametrize("example", ["batch.py", "batch.sh"])
def test_an_example_tells_of_a_file_that_cannot_be_used(stack: Stack, tmp_path: Path, example: str) -> None:
    (tmp_path / "bad.jsonl").write_bytes(lines(1) + b"{\n")
    command = [sys.executable] if example.endswith("py") else ["sh"]
    done = run(stack, tmp_path, *command, str(EXAMPLES / example), "bad.jsonl", "answers.jsonl")
    assert done.returncode == 1 and "line 2: This line is not parseable as valid JSON." in done.stderr
    assert not (tmp_path / "answers.jsonl").exists()


def test_the_asynchronous_example_answers_several_files(stack: Stack, tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / f"{name}.jsonl").write_bytes(line(name, f"what is {name}?"))
    said = python(stack, tmp_path, "batch_async.py", "first.jsonl", "second.jsonl")
    assert re.match(r"first: .+\nsecond: .+\n", said)


def test_every_program_under_docs_is_run_here() -> None:
    there = {path.name for path in EXAMPLES.iterdir() if path.suffix != ".jsonl"}
    assert there == {*ONE_FILE, "batch_async.py"}


@pytest.mark.parametrize("page", ["README.md", "docs/api.md"])
def test_the_python_of_a_page_runs_as_it_stands(stack: Stack, tmp_path: Path, page: str) -> None:
    """In the order of the page, as one program; only the address and the key are other ones."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    program = "\n".join(blocks)
    assert "from openai import OpenAI" in program
    program = program.replace("http://127.0.0.1:8000/v1", stack.base_url).replace("bw_...", stack.key)
    shutil.copy(EXAMPLES / "prompts.jsonl", tmp_path)
    done = run(stack, tmp_path, sys.executable, "-c", program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("ticket-1") >= 1
