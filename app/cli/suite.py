"""`batchwright test`: the project's tests, in a checkout, as `make test` runs them."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from app.cli import report
from app.cli.building import STDERR, checkout
from app.cli.errors import INTERRUPTED, OK, SOME_FAILED, CliError

# What `make test-quick` runs: the tests of what decides, which start nothing, in under 20 s on two cores.
QUICK = ("-n", "2", "-m", "fast and not stack", "tests/unit")


def pytest_command(words: Sequence[str], *, quick: bool, junit: Path | None) -> list[str]:
    """What is run; `junit` is where its counts go. Pure."""
    chosen = QUICK if quick else ()
    told = () if junit is None else (f"--junitxml={junit}",)
    return [sys.executable, "-m", "pytest", *chosen, *told, *words]


def run(words: Sequence[str], *, quick: bool, as_json: bool) -> int:
    """Run them and give 0 if all passed. Raises CliError where there are none."""
    root = checkout("the test suite")
    if not (root / "tests").is_dir() or importlib.util.find_spec("pytest") is None:
        raise CliError(
            "the tests or their tools are not here", hint="`make setup` in a checkout installs them"
        )
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="batchwright-test-") as folder:
        junit = Path(folder) / "junit.xml" if as_json else None
        command = pytest_command(words, quick=quick, junit=junit)
        code = subprocess.run(command, cwd=root, stdout=STDERR if as_json else None, check=False).returncode
        if junit is not None:
            counts = counted(junit.read_text(encoding="utf-8")) if junit.exists() else {}
            seconds = round(time.monotonic() - began_s, 1)
            report.print_json({"ok": code == 0, **counts, "seconds": seconds})
    return {0: OK, 2: INTERRUPTED}.get(code, SOME_FAILED)


def counted(junit: str) -> dict[str, int]:
    """How many passed, failed and were skipped, from pytest's own report. Pure."""
    suites = ET.fromstring(junit).iter("testsuite")  # noqa: S314 - written by our own pytest a moment ago
    total = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for suite in suites:
        for name in total:
            total[name] += int(suite.get(name, 0))
    failed = total["failures"] + total["errors"]
    passed = total["tests"] - failed - total["skipped"]
    return {"passed": passed, "failed": failed, "skipped": total["skipped"]}
