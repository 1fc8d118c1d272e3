"""`models`: what is configured, reachable and picked, for people and for programs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import models as verb
from app.cli import reach as reaching
from app.cli.main import app
from app.cli.models import all_picks
from app.cli.reach import Reached, list_url, reach, reach_all, shown_url
from config.catalog import PRIORITIES
from config.catalog_file import builtin_catalog
from config.settings import Provider, ProviderKind, Secret, Settings
from workers.core.route import Offer

LISTS: dict[str, tuple[int, bytes]] = {
    "/v1/models": (200, b'{"data": [{"id": "gpt-6-luna"}, {"id": "gpt-6.1-sol"}]}'),
    "/v1/models?limit=1000": (200, b'{"data": [{"id": "claude-opus-5-5"}]}'),
    "/v1beta/models?pageSize=1000": (200, b'{"models": [{"name": "models/gemini-4-argon"}]}'),
    "/api/tags": (200, b'{"models": [{"name": "llava:latest"}]}'),
    "/refused/models": (401, b"{}"),
    "/broken/models": (503, b"busy"),
    "/elsewhere/models": (404, b"no such page"),
    "/odd/models": (200, b'{"data": "none"}'),
}


class Lists(ThreadingHTTPServer):
    """Answers the list of models of every kind of provider; `asked` are the paths and headers that came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Lists

    def do_GET(self) -> None:
        self.server.asked.append((self.path, {name.lower(): text for name, text in self.headers.items()}))
        status, body = LISTS[self.path]
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def lists() -> Iterator[Lists]:
    server = Lists()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def provider(kind: ProviderKind, base_url: str, **more: Any) -> Provider:
    return Provider(name=more.pop("name", kind), kind=kind, base_url=base_url, **more)


def all_four(lists: Lists) -> tuple[Provider, ...]:
    key = Secret("s3cret")
    return (
        provider("openai", f"{lists.url}/v1", api_key=key, models=("gpt-*",)),
        provider("anthropic", lists.url, api_key=key, models=("claude-*",), headers={"x-team": "blue"}),
        provider("gemini", lists.url, api_key=key, models=("gemini-*",)),
        provider("ollama", lists.url),
    )


def test_every_kind_is_asked_for_its_list_with_its_own_key_header(lists: Lists) -> None:
    lists.asked.clear()
    reached = reach_all(all_four(lists))
    assert [each.state for each in reached] == ["reachable"] * 4
    assert [sorted(each.models or ()) for each in reached] == [
        ["gpt-6-luna", "gpt-6.1-sol"],
        ["claude-opus-5-5"],
        ["gemini-4-argon"],
        ["llava:latest"],
    ]
    sent = dict(lists.asked)
    assert sent["/v1/models"]["authorization"] == "Bearer s3cret"
    assert sent["/v1/models?limit=1000"]["x-api-key"] == "s3cret"
    assert sent["/v1/models?limit=1000"]["x-team"] == "blue"
    assert sent["/v1beta/models?pageSize=1000"]["x-goog-api-key"] == "s3cret"


@pytest.mark.parametrize(
    ("path", "state"),
    [
        ("/refused", Reached("key refused", "status 401")),
        ("/broken", Reached("unreachable", "status 503")),
        ("/elsewhere", Reached("reachable")),
        ("/odd", Reached("reachable")),
    ],
)
def test_what_a_provider_says_is_its_state(lists: Lists, path: str, state: Reached) -> None:
    assert reach(provider("openai", lists.url + path)) == state


def test_a_place_that_wants_a_key_is_not_asked_without_one() -> None:
    without = provider("anthropic", "https://api.anthropic.com", api_key_env="ANTHROPIC_API_KEY")
    assert reach(without) == Reached("no key", "set ANTHROPIC_API_KEY")


def test_nobody_there_is_said_so() -> None:
    assert reach(provider("ollama", "http://127.0.0.1:1")) == Reached("unreachable", "cannot connect")


def test_an_answer_without_end_is_given_up(lists: Lists, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaching, "_MAX_ANSWER_BYTES", 5)
    assert reach(provider("openai", f"{lists.url}/v1")) == Reached("reachable")


def test_an_address_is_shown_without_its_password() -> None:
    assert shown_url("https://me:hunter2@h.example:1/v1") == "https://h.example:1/v1"
    assert list_url(provider("ollama", "http://h/v1")) == "http://h/api/tags"


def test_a_name_without_a_tag_is_the_latest_one() -> None:
    found = Reached("reachable", models=frozenset({"llava:latest"}))
    assert (found.has("llava"), found.has("llava:7b")) == (True, False)
    assert Reached("reachable").has("x") is None


def test_every_task_has_a_pick_for_every_priority_and_says_who_was_passed_over() -> None:
    catalog = builtin_catalog()
    picks = list(all_picks(catalog, [Offer("claude", ("claude-*",), "anthropic")]))
    assert len(picks) == len(PRIORITIES) * (5 + len(catalog.task_types))
    by_place = {(pick.task, pick.priority): pick for pick in picks}
    creative, embeddings = by_place["creative", "quality"], by_place["embeddings", "cost"]
    assert (creative.provider, creative.model, creative.passed_over) == ("claude", "claude-opus-5-5", ())
    assert embeddings.taken is None
    assert {each.why_not for each in embeddings.passed_over} == {
        "ollama is not configured",
        "openai is not configured",
        "gemini is not configured",
    }


def show(monkeypatch: pytest.MonkeyPatch, settings: Settings, *flags: str) -> Any:
    monkeypatch.setattr(verb, "load", lambda: settings)
    return CliRunner().invoke(app, ["models", *flags])


def test_for_people_there_are_tables_that_fit_and_no_key(
    lists: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = show(monkeypatch, Settings(providers=all_four(lists)))
    assert result.exit_code == 0
    assert "s3cret" not in result.output
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert any(line.split()[:1] == ["openai"] and "reachable, 2 models" in line for line in lines)
    assert any(line.split()[:2] == ["tool_calling", "llama3.2:3b-instruct-q8_0"] for line in lines)
    luna = next(line.split() for line in lines if line.split()[:1] == ["gpt-6-luna"])
    assert luna == ["gpt-6-luna", "openai", "1.05M", "128k", "0.10", "0.50", "yes"]
    assert "`batchwright models pull llama3.2:3b-instruct-q8_0" in result.stderr


def test_for_programs_there_is_one_line_of_json(lists: Lists, monkeypatch: pytest.MonkeyPatch) -> None:
    result = show(monkeypatch, Settings(providers=all_four(lists)[:1]), "--json")
    data = json.loads(result.stdout)
    assert "s3cret" not in result.output
    assert data["providers"][0] == {
        "name": "openai",
        "kind": "openai",
        "base_url": f"{lists.url}/v1",
        "key": True,
        "key_env": None,
        "models": ["gpt-*"],
        "state": "reachable",
        "detail": None,
        "lists": 2,
    }
    pick = next(each for each in data["picks"] if (each["task"], each["priority"]) == ("default", "cost"))
    assert (pick["provider"], pick["model"]) == ("openai", "gpt-6-luna")
    assert pick["passed_over"][0]["why"] == "ollama is not configured"
    luna = next(each for each in data["models"] if each["model"] == "gpt-6-luna")
    assert (luna["input_usd"], luna["listed"], luna["context_tokens"]) == (0.1, True, 1050000)
    assert luna["price_source"] == "genai-prices"


def test_without_a_provider_the_way_to_one_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    result = show(monkeypatch, Settings())
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no provider is configured: set OPENAI_API_KEY" in result.stderr


def test_pull_hands_its_names_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def pull(names: list[str], *, all_configured: bool, as_json: bool) -> int:
        asked.append((names, all_configured, as_json))
        return 1

    monkeypatch.setattr("app.cli.pull.pull", pull)
    codes = [
        CliRunner().invoke(app, ["models", "pull", *args]).exit_code
        for args in (["fast", "llava"], ["--all", "--json"])
    ]
    assert codes == [1, 1]
    assert asked == [(["fast", "llava"], False, False), ([], True, True)]
