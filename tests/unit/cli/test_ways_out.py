"""Who answers a model, and what to do when nobody does."""

from __future__ import annotations

import pytest

from app.cli import ollama, ways_out
from app.cli.errors import CliError
from app.cli.ollama import Ollama
from app.cli.ways_out import Routes, for_model
from config.settings import Provider, Settings
from workers.core.choose import Chosen
from workers.core.messages import LineProblem

STOPPED = Ollama("http://127.0.0.1:11434", installed=True, models=None)
ABSENT = Ollama("http://127.0.0.1:11434", installed=False, models=None)
RUNNING = Ollama("http://127.0.0.1:11434", installed=True, models=frozenset({"llama3.2:latest"}))
OLLAMA = Provider(name="ollama", kind="ollama", base_url="http://127.0.0.1:11434")


def routes(*providers: Provider, all_simulated: bool = False) -> Routes:
    return Routes(Settings(providers=providers), all_simulated)


def trouble(routes_: Routes, model: str, found: Ollama = RUNNING) -> CliError:
    with pytest.raises(CliError) as caught:
        routes_.check_reachable([answerer(routes_, model)], look=lambda url: found)
    return caught.value


def chosen(routes_: Routes, model: str) -> Chosen | LineProblem | None:
    return routes_.chooser.choose("/v1/chat/completions", model, {})


def answerer(routes_: Routes, model: str) -> Chosen:
    found = chosen(routes_, model)
    assert isinstance(found, Chosen)
    return found


def test_simulated_models_are_always_answered_since_a_stack_can_start_the_simulator() -> None:
    assert chosen(routes(), "sim-small") == Chosen("sim", "sim-small")
    assert chosen(routes(), "gpt-4o") is None
    assert routes().simulates([Chosen("sim", "sim-small")])
    assert not routes(OLLAMA).simulates([Chosen("ollama", "llama3.2")])


def test_with_sim_nobody_else_is_asked_not_even_for_a_name_of_their_own() -> None:
    paid = Provider(name="paid", kind="openai", base_url="https://x.example/v1", models=("gpt-4o",))
    for model in ("gpt-4o", "paid/gpt-4o"):
        found = chosen(routes(paid, all_simulated=True), model)
        assert isinstance(found, Chosen) and found.provider == "sim"


def test_ollama_that_is_stopped_is_said_so() -> None:
    error = trouble(routes(OLLAMA), "llama3.2", STOPPED)
    assert error.message == "Ollama is installed but not running"
    assert error.hint == "start it with `ollama serve`"
    assert error.exit_code == 3


def test_a_model_that_is_not_pulled_is_offered_with_its_size() -> None:
    error = trouble(routes(OLLAMA), "qwen2.5:7b")
    assert error.hint == (
        "get it with `batchwright models pull qwen2.5:7b` or `ollama pull qwen2.5:7b` (about 4.7 GB)"
    )


def test_a_model_without_a_tag_is_the_latest_one() -> None:
    routes(OLLAMA).check_reachable([Chosen("ollama", "llama3.2")], look=lambda url: RUNNING)


def test_a_model_of_unknown_size_is_offered_without_one() -> None:
    assert (
        ollama.pull_offer("my-own-model")
        == "`batchwright models pull my-own-model` or `ollama pull my-own-model`"
    )


def test_a_key_that_is_missing_is_named() -> None:
    bare = Provider(
        name="main",
        kind="openai",
        base_url="https://api.openai.com/v1",
        api_key_env="MY_KEY",
        models=("gpt-*",),
    )
    assert trouble(routes(bare), "gpt-4o").hint == "set MY_KEY"


def test_the_ways_out_name_the_key_the_simulator_and_ollama_as_it_is() -> None:
    text = for_model("claude-opus", look=lambda url: STOPPED)
    assert "set ANTHROPIC_API_KEY" in text
    assert "--sim" in text
    assert "[providers.NAME]" in text
    assert "Ollama is installed but not running: start it with `ollama serve`" in text
    assert "set OPENAI_API_KEY" in for_model("gpt-4o", look=lambda url: ABSENT)
    assert "Ollama has it" in for_model("llama3.2", look=lambda url: RUNNING)


def test_a_simulated_model_nobody_answers_needs_a_stack_with_the_simulator() -> None:
    assert "batchwright up --sim" in for_model("sim-small", look=lambda url: ABSENT)


def test_the_sizes_are_plausible_gigabytes() -> None:
    sizes = ollama.download_sizes_gb()
    assert sizes["llama3.2"] == 2.0
    assert all(0.01 < size < 500 for size in sizes.values())


def test_the_key_follows_the_family() -> None:
    assert ways_out.key_name("gemini-2.5-pro") == "GEMINI_API_KEY"
