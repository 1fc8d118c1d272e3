"""Settings: their layers, their refusals, their secrets."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from config.settings import (
    Secret,
    Settings,
    SettingsError,
    describe_settings,
    env_example,
    load_settings,
)

ROOT = Path(__file__).parents[3]


def test_with_nothing_set_every_value_is_its_default_and_has_no_source(tmp_path: Path) -> None:
    settings = load_settings({})
    assert settings == dataclasses.replace(Settings(), data_dir=tmp_path / ".batchwright")
    assert settings.sources == {}


def test_the_environment_beats_dotenv_which_beats_toml_which_beats_the_default(
    tmp_path: Path, toml_file: Callable[[str], Path]
) -> None:
    config = toml_file("[api]\nport = 1001\nmax_requests = 10\n[worker]\nthreads = 3\n[log]\njson = true")
    (tmp_path / ".env").write_text("BATCHWRIGHT_API_PORT=1002\nBATCHWRIGHT_WORKER_THREADS=4\n")
    settings = load_settings({"BATCHWRIGHT_API_PORT": "1003"}, config_file=config)
    assert (settings.api.port, settings.worker.threads, settings.api.max_requests) == (1003, 4, 10)
    assert settings.log.json is True
    assert settings.sources["api.port"] == "BATCHWRIGHT_API_PORT in the environment"
    assert settings.sources["worker.threads"] == "BATCHWRIGHT_WORKER_THREADS in .env"
    assert settings.sources["log.json"] == f"log.json in {config}"


def test_a_value_set_to_its_default_is_told_from_an_unset_one() -> None:
    assert "api.port" in load_settings({"BATCHWRIGHT_API_PORT": "8000"}).sources
    assert "api.port" not in load_settings({}).sources


def test_an_empty_variable_is_an_unset_one() -> None:
    assert load_settings({"BATCHWRIGHT_REDIS_URL": "", "BATCHWRIGHT_API_PORT": " "}).sources == {}


def test_every_setting_is_understood_under_its_long_environment_name() -> None:
    samples = {"integer": "7", "number": "2.5", "boolean": "false", "text": "abc", "path": "x", "secret": "k"}
    for doc in describe_settings():
        value = samples.get(doc.type, doc.type.split(" | ")[-1])
        if doc.allowed.startswith("a URL"):
            value = doc.allowed.split()[5] + "host:1234"
        if doc.name == "retry.repeat_unknown":
            value = "0"
        if doc.name == "monitoring.error_rate_threshold":
            value = "0.5"
        settings = load_settings({doc.env: value})
        assert doc.name in settings.sources, doc.name


@pytest.mark.parametrize(
    ("name", "value", "dotted", "expected"),
    [
        ("REDIS_URL", "redis://r:1/0", "servers.redis_url", "redis://r:1/0"),
        ("MONGODB_URI", "mongodb://m:2/x", "servers.mongodb_url", "mongodb://m:2/x"),
        ("BATCHWRIGHT_CACHE_REDIS_URL", "rediss://c", "servers.cache_redis_url", "rediss://c"),
        ("REDIS_MAX_CONNECTIONS", "20", "servers.redis_max_connections", 20),
        ("CACHE_ENABLED", "no", "cache.enabled", False),
        ("CACHE_TTL", "3600", "cache.ttl_answers_s", 3600),
        ("CACHE_EMBEDDING_TTL", "60", "cache.ttl_embeddings_s", 60),
        ("LOG_LEVEL", "WARNING", "log.level", "warning"),
        ("BATCHWRIGHT_LEASE_S", "3", "lease.lease_s", 3.0),
        ("BATCHWRIGHT_API_MAX_FILE_BYTES", "5 MB", "api.max_file_bytes", 5_000_000),
        ("BATCHWRIGHT_API_MAX_FILE_BYTES", "256KiB", "api.max_file_bytes", 262_144),
    ],
)
def test_short_and_foreign_names_are_understood(name: str, value: str, dotted: str, expected: object) -> None:
    section, field = dotted.split(".")
    assert getattr(getattr(load_settings({name: value}), section), field) == expected


def test_our_own_name_is_stronger_than_a_foreign_one() -> None:
    both = {"REDIS_URL": "redis://theirs", "BATCHWRIGHT_REDIS_URL": "redis://ours"}
    assert load_settings(both).servers.redis_url == "redis://ours"


def test_a_relative_data_directory_stands_under_the_working_directory(tmp_path: Path) -> None:
    assert load_settings({"BATCHWRIGHT_DATA_DIR": "a/../b"}).data_dir == tmp_path / "b"


def test_the_small_profile_turns_flower_off_unless_it_is_asked_for() -> None:
    small = {"BATCHWRIGHT_PROFILE": "small"}
    assert load_settings(small).flower.enabled is False
    assert load_settings(small | {"BATCHWRIGHT_FLOWER_ENABLED": "true"}).flower.enabled is True


def test_the_call_margin_shrinks_with_the_lease_unless_it_is_set() -> None:
    assert load_settings({}).lease.call_margin_s == 10.0
    assert load_settings({"BATCHWRIGHT_LEASE_S": "6"}).lease.call_margin_s == 1.0
    with pytest.raises(SettingsError, match=r"less than lease\.lease_s \(6\)"):
        load_settings({"BATCHWRIGHT_LEASE_S": "6", "BATCHWRIGHT_CALL_MARGIN_S": "6"})


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (
            {"BATCHWRIGHT_API_PORT": "eighty"},
            "BATCHWRIGHT_API_PORT in the environment: expected a whole number from 0 to 65535, got 'eighty'",
        ),
        ({"BATCHWRIGHT_API_PORT": "70000"}, "from 0 to 65535, got '70000'"),
        ({"BATCHWRIGHT_API_PORT": "80.5"}, "a whole number"),
        ({"BATCHWRIGHT_LEASE_S": "nan"}, "a number of at least 1, got 'nan'"),
        ({"CACHE_ENABLED": "maybe"}, "CACHE_ENABLED in the environment: expected true or false, got 'maybe'"),
        ({"BATCHWRIGHT_PROFILE": "tiny"}, "expected standard or small, got 'tiny'"),
        ({"BATCHWRIGHT_API_MAX_FILE_BYTES": "5 apples"}, "a size such as 200 MB or 256 KiB of at least 1"),
        ({"BATCHWRIGHT_API_URL": "localhost:8000"}, "a URL that starts with http:// or https://"),
        ({"BATCHWRIGHT_API_URL": "http://host:99999"}, "a URL that starts with"),
        ({"BATCHWRIGHT_API_PROT": "1"}, "a known name (did you mean BATCHWRIGHT_API_PORT?)"),
        ({"BATCHWRIGHT_CONFIG": "gone.toml"}, "BATCHWRIGHT_CONFIG in the environment: expected the path"),
        ({"OLLAMA_NUM_PARALLEL": "0", "OLLAMA_HOST": "h"}, "a whole number of at least 1, got '0'"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_its_source_and_what_is_allowed(
    environ: dict[str, str], message: str
) -> None:
    with pytest.raises(SettingsError) as refusal:
        load_settings(environ)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[api]\nprot = 1", "api.prot in "),
        ("[api]\nprot = 1", "did you mean port?"),
        ("[apy]\nport = 1", "did you mean api?"),
        ("api = 3", "a table [api]"),
        ("[api]\nport = true", "a whole number from 0 to 65535, got 'True'"),
        ("[api", "a readable TOML file"),
        ("[providers.Big]\nkind = 'openai'", "a name of small letters"),
        ("[providers.x]\nkind = 'acme'", "providers.x.kind in "),
        ("[providers.x]\nmodels = ['a']", 'kind = "openai" or "anthropic"'),
        ("[providers.x]\nkind = 'openai'\nbase_url = 'x'", "providers.x.base_url"),
        ("[providers.x]\nkind = 'openai'\nmodels = 'gpt'", "a list of model names"),
        ("[providers.x]\nkind = 'openai'\nspeed = 1", "one of kind, base_url, api_key_env"),
        ("[providers.x]\nkind = 'openai'\nlimits = {rpm = 1}", "one of requests_per_minute"),
        ("[providers.x]\nkind = 'openai'\nlimits = {concurrency = 0}", "providers.x.limits.concurrency"),
        ("[providers.x]\nkind = 'sim'", "the simulator's URL"),
    ],
)
def test_a_wrong_settings_file_is_refused_by_its_path_and_dotted_name(
    toml_file: Callable[[str], Path], text: str, message: str
) -> None:
    path = toml_file(text)
    with pytest.raises(SettingsError) as refusal:
        load_settings({}, config_file=path)
    assert message in str(refusal.value)
    assert str(path) in str(refusal.value)


def test_a_settings_file_in_the_working_directory_is_read_without_being_named(tmp_path: Path) -> None:
    (tmp_path / "batchwright.toml").write_text("profile = 'small'")
    assert load_settings({}).profile == "small"


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-file\n")
    names = ("BATCHWRIGHT_API_KEY_FILE", "BATCHWRIGHT_BOOTSTRAP_KEY_FILE", "OPENAI_API_KEY_FILE")
    settings = load_settings(dict.fromkeys(names, "key"))
    assert settings.api.key is not None
    assert settings.api.key.reveal() == "from-file"
    assert settings.api.bootstrap_key == settings.providers[0].api_key == Secret("from-file")


def test_a_secret_given_twice_or_in_a_missing_file_is_refused() -> None:
    with pytest.raises(SettingsError, match="only one of BATCHWRIGHT_API_KEY and BATCHWRIGHT_API_KEY_FILE"):
        load_settings({"BATCHWRIGHT_API_KEY": "a", "BATCHWRIGHT_API_KEY_FILE": "b"})
    with pytest.raises(SettingsError, match="the path of a readable file"):
        load_settings({"BATCHWRIGHT_API_KEY_FILE": "missing"})


def test_a_secret_shows_itself_nowhere() -> None:
    environ = {
        "BATCHWRIGHT_API_KEY": "hunter2",
        "OPENAI_API_KEY": "hunter2",
        "BATCHWRIGHT_REDIS_URL": "redis://:hunter2@host",
        "MONGODB_URI": "mongodb://u:hunter2@host",
    }
    settings = load_settings(environ)
    assert "hunter2" not in repr(settings) + str(settings) + f"{settings.api.key}"
    assert "hunter2" not in repr(dataclasses.asdict(settings.api))
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(settings.api)


@pytest.mark.parametrize(
    "environ",
    [
        {"BATCHWRIGHT_API_KEY": "hunter2\r\nx: y"},
        {"OPENAI_API_KEY": "hunter2 x"},
        {"BATCHWRIGHT_REDIS_URL": "http://:hunter2@host"},
    ],
)
def test_a_refused_secret_is_not_repeated(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as refusal:
        load_settings(environ)
    assert "hunter2" not in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_dotenv_knows_quotes_comments_and_export_and_expands_nothing(tmp_path: Path) -> None:
    lines = [
        "\ufeff# a comment",
        "export BATCHWRIGHT_API_HOST = 'a b # c'   # said twice",
        'BATCHWRIGHT_API_KEY="pa$HOME#x"',
        "REDIS_URL=redis://:p#w@host  # inline",
        "",
        "OTHER_PROGRAM=whatever",
    ]
    (tmp_path / ".env").write_text("\r\n".join(lines), encoding="utf-8")
    settings = load_settings({})
    assert settings.api.host == "a b # c"
    assert settings.api.key == Secret("pa$HOME#x")
    assert settings.servers.redis_url == "redis://:p#w@host"


@pytest.mark.parametrize("line", ["no equals sign hunter2", "A='hunter2", '="hunter2"'])
def test_a_wrong_dotenv_line_is_refused_by_its_number_and_not_repeated(tmp_path: Path, line: str) -> None:
    (tmp_path / ".env").write_text(f"# first\n{line}\n")
    with pytest.raises(SettingsError, match=r"\.env line 2") as refusal:
        load_settings({})
    assert "hunter2" not in str(refusal.value)


def test_the_example_file_lists_every_setting_as_it_is_now() -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert text == env_example(), "run `make docs`"


def test_the_example_file_with_every_line_taken_in_changes_no_default(tmp_path: Path) -> None:
    taken_in = [line[1:] if line.startswith("#BATCHWRIGHT_") else line for line in env_example().splitlines()]
    (tmp_path / ".env").write_text("\n".join(taken_in))
    loaded = load_settings({})
    assert loaded == load_settings({}, dotenv=Path("/dev/null"))
    assert "api.port" in loaded.sources
