"""The tutorial and the pages of docs/how-to are done as they stand: every command, program and shown output.

Nobody here has a key: the simulator stands where the pages have OpenAI or a local server. The README has the same in
test_readme.py.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.doc_pages import HOW_TO, ROOT, TUTORIAL
from tests.support.doc_reader import environment, reader
from tests.support.simulator import running_simulator

pytestmark = pytest.mark.compat

# What the pages take for granted: one of them says how to write it.
SETTINGS = """
[providers.openai]
kind = "openai"
api_key_env = "OPENAI_API_KEY"
models = ["gpt-*", "text-embedding-*"]
limits = { requests_per_minute = 500, tokens_per_minute = 200_000 }

[providers.local]
kind = "openai"
base_url = "LOCAL"
models = ["llama-*"]
"""
LOCAL = "http://127.0.0.1:8080/v1"


@dataclass(frozen=True)
class Home:
    """A folder with a stack in it. `known` is what its pages cannot know: the API's address, and the provider's."""

    folder: Path
    environ: dict[str, str]
    settings: str
    known: dict[str, str]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Keys, providers that take them, and one stack for all of the pages."""
    folder = tmp_path_factory.mktemp("home")
    shutil.copy(ROOT / "docs" / "examples" / "prompts.jsonl", folder)
    with running_simulator(folder, "--all-models") as provider:
        settings = SETTINGS.replace("LOCAL", provider.base_url)
        (folder / "batchwright.toml").write_text(settings, encoding="utf-8")
        environ = environment(
            folder,
            OPENAI_API_KEY="sk-nobody",
            OPENAI_BASE_URL=provider.base_url,
            BATCHWRIGHT_WEBHOOK_ALLOW_HTTP="true",
            BATCHWRIGHT_WEBHOOK_ALLOW_PRIVATE="127.0.0.1",
            BATCHWRIGHT_WORKER_PROCESSES="1",
            BATCHWRIGHT_DISK_WARN_PERCENT="100",  # `batchwright alerts` ends with 1 where one fires
        )
        with reader(folder, environ) as shell:
            try:
                assert shell.run("batchwright up --detach") == 0, shell.printed
                yield Home(folder, environ, settings, {**shell.known, LOCAL: provider.base_url})
            finally:
                shell.run("batchwright down")


@pytest.mark.slow
@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.stem)
def test_a_how_to_page_works_as_it_stands(home: Home, page: Path) -> None:
    (home.folder / "batchwright.toml").write_text(home.settings, encoding="utf-8")
    with reader(home.folder, home.environ) as user:
        user.known.update(home.known)
        assert user.run("batchwright up --detach && batchwright cache clear --yes") == 0, user.printed
        assert user.follow(page) >= 3


def test_the_tutorial_works_as_it_stands(tmp_path: Path) -> None:
    with reader(tmp_path, environment(tmp_path)) as newcomer:
        try:
            assert newcomer.follow(TUTORIAL) > 15
            assert not (tmp_path / ".batchwright" / "stack.json").exists(), "the last step ends the stack"
        finally:
            newcomer.run("batchwright down")
