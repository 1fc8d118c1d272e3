"""Pulling models: what is fetched, what is shown, what each way of failing says."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from app.cli import pull as verb
from app.cli.errors import CliError
from app.cli.pull import failure, preferred, pull, servers, wanted
from app.cli.pull_progress import Bar, Lines, Progress
from config.settings import Provider, Settings

SMALL = {"digest": "sha256:cc", "total": 500}
LARGE = {"digest": "sha256:6a", "total": 4_000_000_000}
OLLAMA = Provider(
    name="ollama", kind="ollama", base_url="http://127.0.0.1:11434", models=("mistral:7b", "q*")
)
SETTINGS = Settings(providers=(OLLAMA,))


def said(status: str, **more: Any) -> dict[str, Any]:
    return {"status": status, **more}


PULLED = [
    said("pulling manifest"),
    said("pulling 6a", **LARGE),
    said("pulling 6a", **LARGE, completed=1_000_000_000),
    said("pulling 6a", **LARGE, completed=4_000_000_000),
    said("pulling cc", **SMALL, completed=500),
    said("verifying sha256 digest"),
    said("success"),
]
THERE = [said("pulling manifest"), said("pulling cc", **SMALL, completed=500), said("success")]


class OllamaStub(ThreadingHTTPServer):
    """Answers /api/pull from `answers`: a status and lines for each model; `asked` are the bodies that came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, tuple[int, list[Any]]] = {}
        self.asked: list[dict[str, Any]] = []
        self.held: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: OllamaStub

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append({"path": self.path, **body})
        status, lines = self.server.answers.get(body["model"], (404, [{"error": "not found"}]))
        self.send_response(status)
        self.send_header("content-type", "application/x-ndjson")
        self.end_headers()
        for line in lines:
            self.wfile.write(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"models": [{"name": name} for name in self.server.held]}).encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base's name
        """A test's stderr is what the verb says."""


@pytest.fixture(scope="module")
def running() -> Iterator[OllamaStub]:
    with OllamaStub() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def stub(running: OllamaStub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> OllamaStub:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BATCHWRIGHT_CONFIG", raising=False)
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{running.server_port}")
    running.answers, running.asked, running.held = {}, [], []
    return running


Capture = pytest.CaptureFixture[str]


def test_a_model_is_pulled_and_every_step_is_a_line(stub: OllamaStub, capsys: Capture) -> None:
    stub.answers["qwen2.5:7b"] = (200, PULLED)
    assert pull(["qwen2.5:7b"], all_configured=False, as_json=False) == 0
    out, err = capsys.readouterr()
    assert stub.asked == [{"path": "/api/pull", "model": "qwen2.5:7b", "stream": True}]
    assert out == ""
    assert err.splitlines()[0] == "qwen2.5:7b: pulling manifest, about 4.7 GB"
    assert "qwen2.5:7b: 1.0 GB of 4.0 GB" in err
    assert err.splitlines()[-1] == "qwen2.5:7b: 4.0 GB, pulled"


def test_with_json_each_model_is_one_line_on_stdout(stub: OllamaStub, capsys: Capture) -> None:
    stub.answers = {
        "a": (200, PULLED),
        "b": (200, THERE),
        "c": (200, [{"error": "pull model manifest: EOF"}]),
    }
    assert pull(["a", "b", "c"], all_configured=False, as_json=True) == 1
    first, second, third = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (first["model"], first["status"], first["bytes"]) == ("a", "pulled", 4_000_000_500)
    assert (second["status"], second["fetched_bytes"]) == ("present", 0)
    assert third["status"] == "failed"
    assert third["error"]["message"].startswith("Ollama does not reach its library")


def test_without_names_the_preferred_models_are_pulled(stub: OllamaStub) -> None:
    names = preferred(SETTINGS.catalog)
    stub.answers = dict.fromkeys(names, (200, THERE))
    assert pull([], all_configured=False, as_json=True) == 0
    assert [asked["model"] for asked in stub.asked] == names
    assert {"llama3.2:3b-instruct-q8_0", "qwen2.5:7b-instruct", "nomic-embed-text"} <= set(names)


def test_an_unknown_model_is_wrong_input_and_the_others_go_on(stub: OllamaStub, capsys: Capture) -> None:
    stub.answers = {
        "nonesuch": (200, [said("pulling manifest"), {"error": "pull model manifest: file does not exist"}]),
        "there": (200, THERE),
    }
    assert pull(["nonesuch"], all_configured=False, as_json=False) == 2
    assert "error: Ollama's library has no model 'nonesuch'; the names are" in capsys.readouterr().err
    assert pull(["nonesuch", "there"], all_configured=False, as_json=False) == 1


def test_without_a_way_to_the_library_a_model_that_is_there_is_no_failure(
    stub: OllamaStub, capsys: Capture
) -> None:
    away = {"error": "pull model manifest: Get https://registry.ollama.ai/v2/: dial tcp: no such host"}
    stub.answers = {"a:7b": (200, [away])}
    assert pull(["a:7b"], all_configured=False, as_json=False) == 3
    stub.held = ["a:7b"]
    assert pull(["a:7b"], all_configured=False, as_json=False) == 0
    assert "a:7b: is there already; Ollama does not reach its library" in capsys.readouterr().err
    assert pull(["a:7b"], all_configured=False, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "present"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([said("pulling manifest")], "broke off"),
        ([b"<html>\n"], "is not Ollama"),
        ([said("pulling manifest"), b"[1]\n"], "is not Ollama"),
    ],
)
def test_a_pull_that_breaks_off_is_no_success(
    stub: OllamaStub, capsys: Capture, lines: list[Any], words: str
) -> None:
    stub.answers["a"] = (200, lines)
    code = _code(lambda: pull(["a"], all_configured=False, as_json=False))
    assert code[0] == 3
    assert words in code[1] + capsys.readouterr().err


def test_what_is_no_ollama_says_its_status(stub: OllamaStub, capsys: Capture) -> None:
    stub.answers["a"] = (500, [b"oops"])
    assert pull(["a"], all_configured=False, as_json=False) == 1
    assert "error: Ollama cannot pull 'a': status 500" in capsys.readouterr().err


@pytest.mark.usefixtures("stub")
def test_an_ollama_that_is_not_there_ends_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:1")
    code, message = _code(lambda: pull(["a", "b"], all_configured=False, as_json=False))
    assert code == 3
    assert "Ollama" in message


def _code(run: Callable[[], int]) -> tuple[int, str]:
    try:
        return run(), ""
    except CliError as error:
        return error.exit_code, error.message


@pytest.mark.usefixtures("stub")
def test_ctrl_c_says_that_a_second_pull_goes_on(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> Iterator[dict[str, Any]]:
        yield from PULLED[:3]
        raise KeyboardInterrupt

    monkeypatch.setattr(verb, "_lines", stopped)
    with pytest.raises(KeyboardInterrupt):
        pull(["a"], all_configured=False, as_json=False)
    assert capsys.readouterr().err.endswith("stopped; the same command goes on where it stopped\n")


# --- what is fetched, and from where


def test_names_may_be_aliases_or_carry_their_provider() -> None:
    fast = preferred(SETTINGS.catalog)[0]
    assert wanted(["fast", fast, "ollama/llama3.2"], SETTINGS, all_configured=False) == [fast, "llama3.2"]
    with pytest.raises(CliError, match="is a model of anthropic"):
        wanted(["claude-opus"], SETTINGS, all_configured=False)


def test_all_configured_adds_the_names_that_providers_list_but_no_patterns() -> None:
    names = wanted(["llama3.2"], SETTINGS, all_configured=True)
    assert names[0] == "llama3.2"
    assert names[-1] == "mistral:7b"
    assert "q*" not in names


def test_every_configured_ollama_is_asked_once() -> None:
    far = Provider(name="far", kind="ollama", base_url="http://far.example:11434/v1")
    found = servers(
        Settings(providers=(OLLAMA, far, Provider(name="again", kind="ollama", base_url=far.base_url)))
    )
    assert [each.url for each in found] == ["http://127.0.0.1:11434", "http://far.example:11434"]
    assert [each.url for each in servers(Settings())] == ["http://127.0.0.1:11434"]


@pytest.mark.parametrize(
    ("sentence", "words", "code"),
    [
        ("write /models/blobs/sha256-6a-partial-0: no space left on device", "is full", 1),
        ("invalid model name", "has no model", 2),
        ("pull model manifest: 412: it requires a newer version of Ollama", "needs a newer Ollama", 1),
        ("dial tcp: lookup library.example: no such host", "does not reach its library", 3),
        ("something {else}", "something {else}", 1),
    ],
)
def test_each_failure_has_its_words_and_its_exit_code(sentence: str, words: str, code: int) -> None:
    error = failure("a", sentence)
    assert words in error.message
    assert error.exit_code == code


# --- what is shown


def read(*lines: dict[str, Any]) -> Progress:
    progress = Progress("qwen2.5:7b")
    for line in lines:
        progress.read(line)
    return progress


def test_layers_are_summed_and_what_was_there_before_is_not_fetched() -> None:
    progress = read(
        said("pulling 6a", **LARGE, completed=1_000),
        said("pulling cc", **SMALL, completed=500),
        said("pulling 6a", **LARGE, completed=3_000),
    )
    assert (progress.total, progress.completed, progress.fetched) == (4_000_000_500, 3_500, 2_000)
    assert progress.loading
    assert not progress.done


def test_lines_of_any_shape_do_no_harm() -> None:
    progress = read(said("a\nb"), {"status": 1, "total": "x"}, said("c", digest=1, total=2), {"total": None})
    assert (progress.total, progress.status) == (0, "1")


def test_a_finished_pull_says_whether_anything_came() -> None:
    assert read(*PULLED).facts == "4.0 GB, pulled"
    assert read(*THERE).facts == "500 B, there already"


def test_lines_stay_silent_between_two_moments(capsys: Capture) -> None:
    shown, progress = Lines(), Progress("a")
    for completed in range(1, 200):
        progress.read(said("pulling 6a", **LARGE, completed=completed))
        shown.update(progress)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_terminal_gets_a_bar() -> None:
    out = io.StringIO()
    with Bar(Console(file=out, force_terminal=True, width=100)) as bar:
        progress = Progress("qwen2.5:7b")
        for line in PULLED:
            progress.read(line)
            bar.update(progress)
        bar.end(progress)
    assert "qwen2.5:7b" in out.getvalue()
    assert "100 %" in out.getvalue()
    assert "4.0 GB, pulled" in out.getvalue()
