"""`pause` and `resume`: what may be named, and what is asked of the server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import batch_verbs
from app.cli.main import app

SINCE = 1_700_000_000.0


class Server:
    """Pauses whatever it is asked to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, bool]] = []

    def set_paused(self, kind: str, name: str, *, paused: bool) -> Mapping[str, Any]:
        self.asked.append((kind, name, paused))
        return {"kind": kind, "name": name, "paused": paused, "since": SINCE if paused else None}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    monkeypatch.setattr(batch_verbs, "load", lambda: None)
    monkeypatch.setattr(batch_verbs, "named_server", lambda settings: nullcontext(made))
    return made


@pytest.mark.parametrize("kind", ["provider", "tenant"])
def test_a_pause_of_a_provider_or_a_tenant_names_the_way_back(server: Server, kind: str) -> None:
    paused = CliRunner().invoke(app, ["pause", f"--{kind}", "x"])
    resumed = CliRunner().invoke(app, ["resume", f"--{kind}", "x", "--json"])
    assert server.asked == [(kind, "x", True), (kind, "x", False)]
    assert f"`batchwright resume --{kind} x`" in paused.stdout
    assert json.loads(resumed.stdout)["paused"] is False


@pytest.mark.parametrize("named", [[], ["batch_1", "--provider", "x"], ["--provider", "x", "--tenant", "y"]])
@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_exactly_one_thing_is_named(server: Server, verb: str, named: list[str]) -> None:
    assert CliRunner().invoke(app, [verb, *named]).exit_code == 2
    assert server.asked == []


def test_a_provider_has_no_ceiling(server: Server) -> None:
    assert CliRunner().invoke(app, ["resume", "--provider", "x", "--max-cost-usd", "3"]).exit_code == 2
    assert server.asked == []


@pytest.mark.parametrize(
    ("named", "said"),
    [([], "nothing is named"), (["batch_1", "--provider", "x"], "more than one thing is named")],
)
def test_what_may_be_named_is_said_in_one_sentence(named: list[str], said: str) -> None:
    (line,) = CliRunner().invoke(app, ["pause", *named]).stderr.splitlines()
    assert line == f"error: {said}; name one: a batch's ID, --provider NAME or --tenant ID"
