"""What the README says is done as it stands: every command, program and shown output.

test_pages.py does the same with the tutorial and the pages of docs/how-to.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.doc_pages import README, ROOT
from tests.support.doc_reader import environment, reader

pytestmark = pytest.mark.compat


def test_the_readme_works_as_it_stands(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    with reader(tmp_path, environment(tmp_path, BATCHWRIGHT_WORKER_PROCESSES="1")) as newcomer:
        try:
            # Given a stack, so that `run` need not start one for each file as stack/test_run.py has it do
            assert newcomer.run("batchwright up --sim --detach") == 0, newcomer.printed
            assert newcomer.follow(README) >= 6
        finally:
            newcomer.run("batchwright down")
