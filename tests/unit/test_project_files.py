"""The files around the code say what is so: locks, examples, compose."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"
IMAGE_LOCK = ROOT / "deploy" / "requirements-image.lock"
AUDIO_LOCK = ROOT / "deploy" / "requirements-audio.lock"


def pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", lock.read_text(encoding="utf-8"), re.MULTILINE))


def wanted(*extras: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in extras)]
    return {re.split(r"[\[<>=;~! ]", line, maxsplit=1)[0].lower() for group in groups for line in group}


def lines_of(name: str) -> list[dict[str, Any]]:
    text = (ROOT / "examples" / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("lock", [LOCK, IMAGE_LOCK, AUDIO_LOCK], ids=["everything", "image", "audio"])
def test_a_lock_has_a_hash_for_every_package_and_no_address(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text
    entries = re.split(r"^(?=[a-z0-9.-]+==)", text, flags=re.MULTILINE)[1:]
    assert entries
    assert all("--hash=sha256:" in entry for entry in entries)


def test_the_locks_cover_what_the_project_asks_for_and_agree() -> None:
    everything, image, audio = pins(LOCK), pins(IMAGE_LOCK), pins(AUDIO_LOCK)
    extras = re.findall(r"^EXTRAS := (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[
        0
    ].split()
    assert wanted(*extras) <= everything.keys(), "run `make lock`"
    assert wanted("fast") <= image.keys() and wanted("fast", "audio") <= audio.keys(), "run `make lock`"
    assert image.items() <= everything.items() and image.items() <= audio.items()


@pytest.mark.parametrize(
    ("name", "url", "models", "least"),
    [
        ("requests.jsonl", "/v1/chat/completions", {"sim-small", "sim-large"}, 220),
        ("embeddings.jsonl", "/v1/embeddings", {"sim-embed"}, 40),
    ],
)
def test_an_example_file_is_one_batch_for_the_simulator(
    name: str, url: str, models: set[str], least: int
) -> None:
    lines = lines_of(name)
    assert len(lines) >= least
    assert len({line["custom_id"] for line in lines}) == len(lines)
    assert {(line["method"], line["url"]) for line in lines} == {("POST", url)}
    assert {line["body"]["model"] for line in lines} == models


def test_the_example_requests_hold_some_repeats_for_the_cache_to_show() -> None:
    bodies = Counter(json.dumps(line["body"], sort_keys=True) for line in lines_of("requests.jsonl"))
    assert 0.05 < 1 - len(bodies) / bodies.total() < 0.2


def test_an_installed_package_holds_every_file_that_is_no_python() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    packages = ("app", "batchwright", "config", "workers")
    tracked = subprocess.run(
        ["git", "ls-files", *packages], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    left_out = []
    for path in map(PurePosixPath, tracked):
        rules = [(path.name, rule) for rule in declared["*"]]
        for package, globs in declared.items():
            folder = package.replace(".", "/")
            if package != "*" and path.is_relative_to(folder):
                rules += [(str(path.relative_to(folder)), rule) for rule in globs]
        if path.suffix != ".py" and not any(fnmatch(name, rule) for name, rule in rules):
            left_out.append(str(path))
    assert not left_out
