"""Schemathesis against a whole stack of its own, as a stranger would run it: all checks, all phases, all operations.

What it may not hold against us is in schemathesis.toml, each with its reason.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compat.conftest import Stack, lines
from tests.support.apart import apart
from tests.support.api import ROOT, running_api
from tests.support.servers import TestServers
from tests.support.workers import open_site, started_worker

pytestmark = pytest.mark.compat
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
SEED = 7
EXAMPLES = 15
LEAST_CASES = 2_000  # of far more than that; so few would mean that it found no way in
LIMIT_S = 300.0


@pytest.fixture
def own_stack(servers: TestServers, tmp_path: Path) -> Iterator[Stack]:
    """A stack that nobody else uses: its tenants are erased, its providers paused, its keys revoked."""
    own = apart(servers, "schemathesis", redis_offset=48)
    with (
        open_site(own, tmp_path, "--seed", "7") as site,
        running_api(own, tmp_path) as running,
        started_worker(site, "schemathesis"),
    ):
        yield Stack(running, site)


def test_the_api_is_what_its_document_says(own_stack: Stack) -> None:
    """Every operation, with good and bad data, alone and one after another."""
    # Something of everything, to be found in the lists. Nobody takes events there, so a delivery stays to be sent.
    hook = own_stack.api.call("POST", "/v1/webhooks", json={"url": f"{own_stack.api.url}/health"})
    assert hook.status_code == 200
    own_stack.ended(own_stack.create(lines(3)).id)
    command = [
        *(str(SCHEMATHESIS), "run", f"{own_stack.api.url}/openapi.json"),
        *("--header", f"Authorization: Bearer {own_stack.key}"),
        *("--checks", "all", "--phases", "examples,coverage,fuzzing,stateful"),
        *("--seed", str(SEED), "--max-examples", str(EXAMPLES), "--no-color"),
    ]
    run = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env={**os.environ, "COLUMNS": "120"},
        check=False,
    )
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-2_000:]
    passed = re.search(r"([0-9]+) generated, ([0-9]+) passed", run.stdout)
    assert passed is not None and int(passed[2]) > LEAST_CASES, run.stdout
    # A key that was revoked on the way would be refused by every operation, as it should.
    assert own_stack.api.call("GET", "/v1/tenants").status_code == 200
    # Schemathesis takes a documented 500 for a matter of the server's own; the log has what it was.
    assert "Traceback" not in own_stack.api.log_path.read_text()
