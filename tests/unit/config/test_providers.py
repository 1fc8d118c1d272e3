"""Providers: from well-known names, from tables, and in which order they are asked."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from config.settings import Secret, SettingsError, load_settings


def test_well_known_names_make_providers_in_the_order_of_asking() -> None:
    environ = {
        "OLLAMA_HOST": "0.0.0.0",
        "GEMINI_API_KEY": "g",
        "ANTHROPIC_API_KEY": "a",
        "OPENAI_API_KEY": "o",
        "BATCHWRIGHT_SIMULATOR_URL": "http://127.0.0.1:9/",
    }
    providers = load_settings(environ).providers
    assert [item.name for item in providers] == ["sim", "openai", "anthropic", "gemini", "ollama"]
    sim, openai, _, _, ollama = providers
    assert (sim.kind, sim.base_url, sim.models) == ("sim", "http://127.0.0.1:9/v1", ("sim-*",))
    assert openai.base_url == "https://api.openai.com/v1"
    assert openai.api_key == Secret("o")
    assert (ollama.base_url, ollama.limits.concurrency) == ("http://127.0.0.1:11434", 2)
    assert ollama.timeouts.read_s == 300.0


def test_no_provider_appears_by_itself() -> None:
    assert load_settings({}).providers == ()


def test_the_simulator_serves_every_model_only_when_asked_openly() -> None:
    environ = {"BATCHWRIGHT_SIMULATOR_URL": "http://h", "BATCHWRIGHT_SIMULATOR_ALL_MODELS": "1"}
    assert load_settings(environ).providers[0].models == ("*",)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("localhost", "http://localhost:11434"),
        ("0.0.0.0:9000", "http://127.0.0.1:9000"),
        ("https://box.example/base", "https://box.example:443/base"),
        ("http://box", "http://box:80"),
        ("[::1]:11434", "http://[::1]:11434"),
    ],
)
def test_an_ollama_host_is_read_as_ollama_reads_it(host: str, url: str) -> None:
    assert load_settings({"OLLAMA_HOST": host}).providers[0].base_url == url


def test_a_compatible_server_is_asked_for_every_model_and_needs_no_key() -> None:
    (provider,) = load_settings({"OPENAI_BASE_URL": "http://127.0.0.1:8080/v1/"}).providers
    assert (provider.base_url, provider.models) == ("http://127.0.0.1:8080/v1", ("*",))
    assert provider.api_key is None


def test_a_table_adds_a_provider_with_limits_and_the_key_its_variable_names(
    toml_file: Callable[[str], Path],
) -> None:
    config = toml_file(
        """
        [providers.acme]
        kind = "openai"
        base_url = "https://acme.example/v1/"
        api_key_env = "ACME_KEY"
        models = ["acme-*"]
        limits = { requests_per_minute = 600 }
        timeouts = { read_s = 30 }
        """
    )
    (acme,) = load_settings({"ACME_KEY": "s3cret"}, config_file=config).providers
    assert acme.base_url == "https://acme.example/v1"
    assert acme.api_key == Secret("s3cret")
    assert (acme.limits.requests_per_minute, acme.limits.tokens_per_minute) == (600, None)
    assert (acme.timeouts.read_s, acme.timeouts.connect_s) == (30.0, 5.0)


def test_a_table_under_a_well_known_name_changes_only_what_it_says(toml_file: Callable[[str], Path]) -> None:
    config = toml_file("[providers.openai]\nlimits = { tokens_per_minute = 1000 }")
    (openai,) = load_settings({"OPENAI_API_KEY": "k"}, config_file=config).providers
    assert (openai.kind, openai.api_key, openai.limits.tokens_per_minute) == ("openai", Secret("k"), 1000)


def test_a_well_known_key_is_not_sent_to_another_address_unasked(toml_file: Callable[[str], Path]) -> None:
    config = toml_file("[providers.other]\nkind = 'openai'\nbase_url = 'https://other.example'")
    providers = load_settings({"OPENAI_API_KEY": "k"}, config_file=config).providers
    assert [(item.name, item.api_key) for item in providers] == [("other", None), ("openai", Secret("k"))]


def test_a_key_written_into_the_settings_file_is_refused_unread(toml_file: Callable[[str], Path]) -> None:
    config = toml_file("[providers.openai]\nkind = 'openai'\napi_key = 'hunter2'")
    with pytest.raises(SettingsError, match="api_key_env with the name of a variable") as refusal:
        load_settings({}, config_file=config)
    assert "hunter2" not in str(refusal.value)


def test_the_addresses_and_keys_of_the_official_clients_are_understood() -> None:
    environ = {
        "ANTHROPIC_API_KEY": "a",
        "ANTHROPIC_BASE_URL": "https://gate.example/",
        "GOOGLE_API_KEY": "g",
        "GOOGLE_GEMINI_BASE_URL": "https://one.example",
        "GEMINI_BASE_URL": "https://two.example",
    }
    anthropic, gemini = load_settings(environ).providers
    assert (anthropic.base_url, anthropic.api_key) == ("https://gate.example", Secret("a"))
    assert (gemini.base_url, gemini.api_key_env, gemini.api_key) == (
        "https://one.example",
        "GOOGLE_API_KEY",
        Secret("g"),
    )
    both = load_settings({"GOOGLE_API_KEY": "g", "GEMINI_API_KEY": "stronger"}).providers[0]
    assert both.api_key == Secret("stronger")


def test_an_address_alone_names_no_provider_that_wants_a_key(toml_file: Callable[[str], Path]) -> None:
    environ = {"ANTHROPIC_BASE_URL": "https://gate.example"}
    assert load_settings(environ).providers == ()
    config = toml_file("[providers.anthropic]\nlimits = { concurrency = 1 }")
    assert load_settings(environ, config_file=config).providers[0].base_url == "https://gate.example"


def test_openai_is_not_asked_for_the_models_it_gives_away() -> None:
    offered = load_settings({"OPENAI_API_KEY": "o"}).providers[0].models
    assert any(fnmatchcase("gpt-6-luna", glob) for glob in offered)
    assert not any(fnmatchcase("gpt-oss:20b", glob) for glob in offered)


def test_how_long_ollama_keeps_a_model_becomes_its_default_option() -> None:
    for text, value in (("24h", "24h"), ("-1", -1), ("300", 300)):
        (ollama,) = load_settings({"OLLAMA_HOST": "h", "OLLAMA_KEEP_ALIVE": text}).providers
        assert ollama.options == {"keep_alive": value}


def test_a_table_says_path_key_header_headers_and_options(toml_file: Callable[[str], Path]) -> None:
    config = toml_file(
        """
        [providers.azure]
        kind = "openai"
        base_url = "https://x.openai.azure.com/openai"
        path = "/deployments/{model}{endpoint}?api-version=2026-01-01"
        key_header = "Api-Key"
        headers = { X-Team = "hunter2" }
        options = { user = "batch", options = { num_ctx = 8192 } }
        """
    )
    (azure,) = load_settings({}, config_file=config).providers
    assert azure.path == "/deployments/{model}{endpoint}?api-version=2026-01-01"
    assert (azure.key_header, azure.headers) == ("api-key", {"x-team": "hunter2"})
    assert azure.options == {"user": "batch", "options": {"num_ctx": 8192}}
    assert "hunter2" not in repr(azure)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("path = '/v1/chat'", "a path with {model} or {endpoint}"),
        ("path = '/x/{modle}'", "a path with {model} or {endpoint}"),
        ("path = 'x/{model}'", "a path with {model} or {endpoint}"),
        ("path = '/{model'", "a path with {model} or {endpoint}"),
        ("key_header = 'a b'", "the name of a header"),
        ('headers = { x = "hunter2\\n" }', "text that can stand in a header"),
        ("headers = { x = 1 }", "text that can stand in a header"),
        ("headers = 'hunter2'", "a table"),
        ("options = 'x'", "a table"),
        ("options = { at = 2026-11-21 }", "what JSON can hold"),
        ("options = { at = [nan] }", "what JSON can hold"),
    ],
)
def test_a_wrong_way_to_ask_is_refused_without_a_secret(
    line: str, words: str, toml_file: Callable[[str], Path]
) -> None:
    config = toml_file(f"[providers.azure]\nkind = 'openai'\n{line}")
    with pytest.raises(SettingsError, match=re.escape(words)) as refusal:
        load_settings({}, config_file=config)
    assert "hunter2" not in str(refusal.value)


def test_a_path_is_for_the_kind_openai_only(toml_file: Callable[[str], Path]) -> None:
    config = toml_file("[providers.anthropic]\npath = '/x/{model}'")
    with pytest.raises(SettingsError, match="only the kind openai"):
        load_settings({"ANTHROPIC_API_KEY": "k"}, config_file=config)


def test_a_table_says_who_answers_when_it_fails(toml_file: Callable[[str], Path]) -> None:
    config = toml_file("[providers.anthropic]\nfallback = ['gemini/gemini-flash', 'openai']")
    environ = {"ANTHROPIC_API_KEY": "a", "OPENAI_API_KEY": "o"}
    providers = {one.name: one for one in load_settings(environ, config_file=config).providers}
    # Gemini has no key in this process; who has one may hand over to it all the same.
    assert providers["anthropic"].fallback == ("gemini/gemini-flash", "openai")
    assert providers["openai"].fallback == ()


@pytest.mark.parametrize(
    ("fallback", "words"),
    [
        ("['anthropic']", "expected other providers than itself, got 'anthropic'"),
        ("['anthropic/claude-haiku']", "other providers than itself"),
        ("['opnai']", "expected PROVIDER or PROVIDER/MODEL of openai, gemini, ollama, sim, got 'opnai'"),
        ("['openai/']", "PROVIDER/MODEL"),
        ("'openai'", "a list such as"),
        ("[]", "a list such as"),
        ("[1]", "a list such as"),
    ],
)
def test_a_fallback_to_nobody_is_refused_at_once(
    fallback: str, words: str, toml_file: Callable[[str], Path]
) -> None:
    config = toml_file(f"[providers.anthropic]\nfallback = {fallback}")
    with pytest.raises(SettingsError, match=re.escape(words)) as refusal:
        load_settings({}, config_file=config)
    assert "providers.anthropic.fallback" in str(refusal.value)
