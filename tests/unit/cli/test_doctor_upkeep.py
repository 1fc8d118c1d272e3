"""`doctor`: what it concludes of beat, alerts, webhooks and an Ollama server's models."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from app.cli.ollama import held
from app.doctor.ollama_check import of_models
from app.doctor.upkeep_check import of_alerts, of_beat, of_webhooks

pytestmark = pytest.mark.fast
SECRET = "never-shown"
NOBODY = "127.0.0.1:1"


@pytest.mark.parametrize(
    ("silent_s", "scheduled", "has_beat", "state"),
    [
        (3.0, True, True, "ok"),
        (None, False, False, "ok"),
        (None, True, False, "warning"),
        (None, False, True, "warning"),
        (300.0, True, False, "warning"),
        (300.0, False, True, "warning"),
        (300.0, False, False, "ok"),
    ],
)
def test_a_silent_beat_is_a_warning_where_something_needs_it(
    silent_s: float | None, scheduled: bool, has_beat: bool, state: str
) -> None:
    found = of_beat(silent_s, scheduled=scheduled, has_beat=has_beat)
    assert found.state == state and bool(found.fix) == (state == "warning")


ALERT = {
    "rule": "breaker_open",
    "subject": "acme",
    "measure": "breaker_lanes",
    "value": 2.0,
    "threshold": 0.0,
    "bad": "over",
    "helps": "Look at the provider",
    "runbook": "docs/runbook.md",
}


def test_each_firing_alert_is_a_warning_with_its_runbook() -> None:
    assert [each.state for each in of_alerts([])] == ["ok"]
    (found,) = of_alerts([ALERT])
    assert found.text == "breaker_open of acme fires: breaker_lanes is 2, over 0"
    assert found.state == "warning" and found.fix == "Look at the provider (docs/runbook.md)"
    (whole,) = of_alerts([ALERT | {"subject": None}])
    assert whole.text.startswith("breaker_open fires")


def test_receivers_that_fail_are_warnings_and_their_addresses_are_not_shown() -> None:
    assert [each.state for each in of_webhooks([], 0)] == ["ok"]
    disabled = {"_id": "wh_1", "disabled_reason": "410", "url": f"https://{SECRET}.example"}
    found = of_webhooks([disabled], 1200)
    assert [each.state for each in found] == ["warning", "warning"] and "1,200" in found[1].text
    assert "batchwright webhooks set wh_1 --enable" in found[0].fix
    assert SECRET not in json.dumps([each.as_dict() for each in found])


@pytest.mark.parametrize(
    ("sizes", "named", "state", "said"),
    [
        ({"small": 2_000_000_000}, (), "ok", "1 pulled (2.0 GB), loaded now: small (3.0 GB)"),
        ({"small": 1, "big:latest": 1}, ("big",), "ok", "2 pulled"),
        ({"small": 1}, ("big",), "warning", "not pulled, though preferred: big"),
        ({}, (), "warning", "not pulled, though preferred: small"),
        ({"small": 1}, (), "ok", "of the aliases not pulled: wide"),
    ],
)
def test_models_that_are_preferred_and_not_pulled_are_named_with_the_command_that_pulls_them(
    sizes: dict[str, int], named: tuple[str, ...], state: str, said: str
) -> None:
    loaded = {"small": 3_000_000_000} if "small" in sizes else {}
    found = of_models("ollama", sizes, loaded, named, {"fast": "small", "vision": "wide"})
    assert (found.name, found.state) == ("ollama models", state) and said in found.text
    assert ("batchwright models pull" in found.fix) == (state == "warning")


@pytest.fixture
def ollama_url() -> Iterator[str]:
    """A server with one model, which is loaded."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sizes = {"/api/tags": 2_000_000_000, "/api/ps": 3_000_000_000}
            body = json.dumps({"models": [{"name": "small:latest", "size": sizes[self.path]}]}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join(5)


def test_an_ollama_server_tells_what_is_pulled_and_what_is_loaded_and_one_that_is_away_nothing(
    ollama_url: str,
) -> None:
    assert held(ollama_url) == ({"small:latest": 2_000_000_000}, {"small:latest": 3_000_000_000})
    assert held(f"http://{NOBODY}") is None
