"""`build`, `rebuild`, `test` and `pull-models`: what they run, and what they say where they cannot."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import building, suite
from app.cli.building import TARGETS, build_command, rebuild_command, tag_of
from app.cli.errors import NOT_REACHED, WRONG_INPUT
from app.cli.main import app
from tests.support.image import DOCKERFILE, stages

pytestmark = pytest.mark.fast
HERE = Path("/src")
# A docker that writes down what it is told; a cache is a folder with an index, as buildx writes it.
DOCKER = """#!/bin/sh
echo "$@" >> "$DOCKER_LOG"
case "$*" in "buildx inspect"*) exit 1;; *"$DOCKER_FAILS"*) exit 9;; esac
for word in "$@"; do
  case "$word" in type=local,dest=*)
    d=${word#*dest=}; d=${d%%,*}; mkdir -p "$d"; echo > "$d/index.json";;
  esac
done
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source tree, and a docker of ours on the path."""
    (tmp_path / "Dockerfile").touch()
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "docker").write_text(DOCKER)
    (tools / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("DOCKER_FAILS", "nothing")
    monkeypatch.setattr(building, "_ROOT", tmp_path)
    return tmp_path


def told(checkout: Path) -> list[str]:
    return [
        line
        for line in (checkout / "log").read_text().splitlines()
        if "build --" in line or "buildx build" in line
    ]


def test_the_targets_are_those_of_the_dockerfile() -> None:
    assert set(TARGETS) <= stages(DOCKERFILE.read_text(encoding="utf-8")).keys()
    assert build_command("audio", "mine:1", HERE)[3:] == [
        "--target",
        "audio",
        "--tag",
        "mine:1",
        "--load",
        "/src",
    ]


def test_a_rebuild_fetches_the_base_and_takes_layers_from_the_last_cache_unless_asked_not_to() -> None:
    cache, new = HERE / "cache", HERE / "new"
    again = rebuild_command("core", tag_of("core"), HERE, known=cache, written=new, fresh=False)
    assert "--pull" in again and "type=local,src=/src/cache" in again and "--no-cache" not in again
    fresh = rebuild_command("core", tag_of("core"), HERE, known=cache, written=new, fresh=True)
    assert "--no-cache" in fresh and "--cache-from" not in fresh
    assert again[-4:] == ["--cache-to", "type=local,dest=/src/new,mode=max", "--load", "/src"] == fresh[-4:]


def test_a_rebuild_leaves_one_cache_and_the_next_one_reads_it(checkout: Path) -> None:
    for _ in range(2):
        done = CliRunner().invoke(app, ["rebuild", "--json"])
        assert (
            json.loads(done.stdout)[0].items()
            >= {"target": "core", "image": "batchwright:core", "ok": True}.items()
        )
    first, second = told(checkout)
    kept = checkout / ".batchwright" / "buildcache"
    assert "--cache-from" not in first and f"type=local,src={kept / 'core'}" in second
    assert [path.name for path in kept.iterdir()] == ["core"]


def test_a_build_that_fails_keeps_the_old_cache_and_makes_no_more(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_FAILS", "buildx build")
    done = CliRunner().invoke(app, ["rebuild", "--target", "all"])
    assert (done.exit_code, len(told(checkout))) == (1, 1)
    assert "could not be made" in done.stdout
    assert not (checkout / ".batchwright" / "buildcache" / "core").exists()


@pytest.mark.parametrize(
    ("fails", "words"),
    [("buildx version", "docker-buildx"), ("info", "no Docker Engine answers")],
)
@pytest.mark.usefixtures("checkout")
def test_a_docker_that_lacks_something_is_told_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, fails: str, words: str
) -> None:
    monkeypatch.setenv("DOCKER_FAILS", fails)
    done = CliRunner().invoke(app, ["build"])
    assert done.exit_code == NOT_REACHED and words in done.stderr and len(done.stderr.splitlines()) == 1


def test_without_docker_the_way_without_it_is_named(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(checkout))
    done = CliRunner().invoke(app, ["build", "--json"])
    assert done.exit_code == NOT_REACHED
    assert json.loads(done.stdout)["error"]["message"] == "there is no `docker` here"
    assert "`batchwright up`" in done.stderr


@pytest.mark.parametrize("verb", ["build", "rebuild", "test"])
def test_an_installed_package_says_that_it_has_no_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setattr(building, "_ROOT", tmp_path)
    done = CliRunner().invoke(app, [verb])
    assert done.exit_code == WRONG_INPUT and "this is an installed package" in done.stderr


def test_one_name_is_for_one_image(checkout: Path) -> None:
    done = CliRunner().invoke(app, ["build", "--target", "all", "--tag", "mine"])
    assert done.exit_code == WRONG_INPUT and not (checkout / "log").exists()


def test_the_tests_are_those_of_make_and_their_counts_come_from_pytest() -> None:
    assert suite.pytest_command(["-k", "cache"], quick=False, junit=None)[1:] == [
        "-m",
        "pytest",
        "-k",
        "cache",
    ]
    quick = suite.pytest_command([], quick=True, junit=Path("j.xml"))
    assert quick[3:] == [*suite.QUICK, "--junitxml=j.xml"]
    report = '<testsuites><testsuite tests="9" failures="1" errors="1" skipped="2"/></testsuites>'
    assert suite.counted(report) == {"passed": 5, "failed": 2, "skipped": 2}


def test_make_and_the_verb_run_the_same_quick_tests() -> None:
    makefile = (DOCKERFILE.parent / "Makefile").read_text(encoding="utf-8")
    *before, expression, folder = suite.QUICK
    assert f'{" ".join(before)} "{expression}" {folder}' in makefile
