"""Which models are loaded ahead, how that is asked for, and that the first answer is then no slower than the tenth."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.simulator.config import SimulatorConfig
from app.simulator.dialect import Inbound
from app.simulator.simulation import Plan, Simulation
from config.catalog_file import builtin_catalog
from config.settings import Settings, SettingsError, load_settings
from workers.core.choose import Chosen, call_of
from workers.core.messages import HttpRequest
from workers.core.prewarming import load_call, models_to_load
from workers.providers.ollama import Ollama
from workers.providers.openai import OpenAI

CHAT = "/v1/chat/completions"
FAST = "llama3.2:3b-instruct-q8_0"
LLAMA = '[providers.llama]\nkind = "openai"\n'


def loaded_at(settings: Settings, name: str = "ollama") -> tuple[str, ...]:
    provider = next(each for each in settings.providers if each.name == name)
    return models_to_load(provider, settings.catalog, builtin_catalog())


# ---------------------------------------------------------------- which


@pytest.mark.parametrize(
    ("environ", "models"),
    [
        ({}, (FAST,)),
        ({"OLLAMA_MODEL_FAST": "phi4"}, ("phi4",)),
        # what a request without a model gets comes last: a server with room for one keeps that
        ({"OLLAMA_MODEL": "qwen3", "DEFAULT_VISION_MODEL": "llava:13b"}, ("qwen3", "llava:13b", FAST)),
    ],
)
def test_ollama_loads_what_its_well_known_names_say(environ: dict[str, str], models: tuple[str, ...]) -> None:
    assert loaded_at(load_settings({"OLLAMA_HOST": "h", **environ})) == models


@pytest.mark.parametrize(
    ("table", "models"),
    [
        ("[providers.ollama]\nprewarm = false", ()),
        ('[providers.ollama]\nprewarm = ["a", "b", "a"]', ("a", "b")),
        ('[providers.ollama]\nmodels = ["qwen3", "phi*"]', ("qwen3",)),
        (f'{LLAMA}base_url = "http://127.0.0.1:8080/v1"', ()),
        (f'{LLAMA}base_url = "http://llama:8080/v1"\nmodels = ["q", "r-*"]\nprewarm = true', ("q",)),
        (f'{LLAMA}base_url = "http://10.1.2.3/v1"\nprewarm = ["q"]', ("q",)),
    ],
)
def test_a_table_says_which_models_are_loaded(
    table: str, models: tuple[str, ...], toml_file: Callable[[str], Path]
) -> None:
    settings = load_settings({"OLLAMA_HOST": "h"}, config_file=toml_file(table))
    assert loaded_at(settings, "ollama" if "providers.ollama" in table else "llama") == models


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('kind = "openai"\nprewarm = ["gpt-6-luna"]', "a server of one's own"),
        (
            'kind = "openai"\nbase_url = "https://llm.example.com/v1"\nprewarm = ["q"]',
            "a server of one's own",
        ),
        ('kind = "openai"\nbase_url = "http://8.8.8.8/v1"\nprewarm = ["q"]', "a server of one's own"),
        ('kind = "anthropic"\nprewarm = true', "a server of one's own"),
        ('kind = "ollama"\nprewarm = "all"', "true, false or a list"),
        ('kind = "ollama"\nprewarm = [""]', "true, false or a list"),
        ('kind = "openai"\nbase_url = "http://localhost/v1"\nprewarm = true', "a list of models"),
    ],
)
def test_what_would_be_charged_for_or_says_nothing_is_refused(
    lines: str, words: str, toml_file: Callable[[str], Path]
) -> None:
    with pytest.raises(SettingsError, match=words):
        load_settings({}, config_file=toml_file(f"[providers.x]\n{lines}"))


@pytest.fixture
def toml_file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "batchwright.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


# ---------------------------------------------------------------- how, and what it is good for


def request_of(call: Any, adapter: Ollama | OpenAI) -> HttpRequest:
    return adapter.build_request(call, None).request


def sent(simulation: Simulation, request: HttpRequest, now: float) -> Plan:
    path = request.path if request.path.startswith("/api") else f"/v1{request.path}"
    plan = simulation.decide(
        Inbound(request.method, path, request.body, request.headers), now=now, unix_s=int(now)
    )
    assert plan.status == 200, plan.body
    return plan


def asked(kind: str, options: dict[str, Any], number: int) -> HttpRequest:
    """A call of a batch, as it goes to its provider."""
    body = {"messages": [{"role": "user", "content": f"question {number}"}]}
    chosen = Chosen(kind, "sim-small")
    call = call_of(CHAT, body, chosen, kind, builtin_catalog(), options)
    return request_of(call, Ollama() if kind == "ollama" else OpenAI())


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("ollama", {"keep_alive": "24h"}),
        ("ollama", {"keep_alive": -1, "options": {"num_ctx": 8192}}),
        ("openai", {}),
    ],
)
def test_after_the_load_the_first_answer_is_no_slower_than_the_tenth(
    kind: str, options: dict[str, Any]
) -> None:
    simulation = Simulation(SimulatorConfig(cold_start_ms=48_000.0), instance="0")
    load = request_of(
        load_call(kind, "sim-small", builtin_catalog(), options), Ollama() if kind == "ollama" else OpenAI()
    )
    assert sent(simulation, load, 0.0).delay_s == 48.0, "the load itself takes its time"
    # when ten calls come, two hours apart: each of them says again how long the model is to stay
    delays_s = [sent(simulation, asked(kind, options, n), 100.0 + 7_200.0 * n).delay_s for n in range(10)]
    assert delays_s == [0.0] * 10


def test_without_the_load_the_first_answer_waits_for_it_and_so_does_who_comes_meanwhile() -> None:
    simulation = Simulation(SimulatorConfig(cold_start_ms=48_000.0), instance="0")
    delays_s = [
        sent(simulation, asked("ollama", {}, n), now).delay_s for n, now in enumerate((0.0, 40.0, 60.0))
    ]
    assert delays_s == [48.0, 8.0, 0.0]
    # and without keep_alive a model goes after five minutes
    assert sent(simulation, asked("ollama", {}, 9), 361.0).delay_s == 48.0


def test_a_load_with_another_context_would_be_in_vain_so_it_has_the_calls_own_options() -> None:
    options = {"keep_alive": "24h", "options": {"num_ctx": 8192, "seed": 1}}
    load = json.loads(request_of(load_call("ollama", "m", builtin_catalog(), options), Ollama()).body)
    assert (load["model"], load["prompt"], load["keep_alive"]) == ("m", "", "24h")
    assert load["options"] == {"num_ctx": 8192, "seed": 1} and load["stream"] is False
    call = json.loads(asked("ollama", options, 1).body)
    assert (call["keep_alive"], call["options"]["num_ctx"]) == ("24h", 8192)
    plain = Simulation(SimulatorConfig(cold_start_ms=48_000.0), instance="0")
    sent(plain, request_of(load_call("ollama", "sim-small", builtin_catalog(), {}), Ollama()), 0.0)
    assert sent(plain, asked("ollama", options, 1), 60.0).delay_s == 48.0


def test_an_embedding_model_is_loaded_by_its_own_endpoint() -> None:
    request = request_of(
        load_call("ollama", "nomic-embed-text", builtin_catalog(), {"keep_alive": "1h"}), Ollama()
    )
    assert request.path == "/api/embed" and "input" not in json.loads(request.body)
    simulation = Simulation(SimulatorConfig(all_models=True), instance="0")
    assert sent(simulation, request, 0.0).prompt_tokens == 0
