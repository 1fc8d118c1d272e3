"""The catalogue: what models.toml says, and what a user's tables change of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from config.catalog import KINDS, OTHER_ROUTES, PRIORITIES, Candidate, ModelTraits
from config.catalog_file import builtin_catalog
from config.settings import SettingsError, load_settings

CATALOG = builtin_catalog()


@pytest.mark.parametrize(
    ("name", "full", "max_tokens", "temperature", "streaming"),
    [
        ("genre", "genre_classification", 100, 0.1, "never"),
        ("audio", "audio_analysis", 500, 0.3, "never"),
        ("creative", "creative", 2000, 0.8, "always"),
        ("factual", "factual", 300, 0.2, "never"),
        ("tools", "tool_calling", 1000, 0.1, "never"),
        ("summarization", "summarization", 500, 0.3, "auto"),
        ("transcription", "transcription", 1500, 0.2, "auto"),
    ],
)
def test_task_types_have_their_promised_defaults(
    name: str, full: str, max_tokens: int, temperature: float, streaming: str
) -> None:
    task = CATALOG.task_type(name)
    assert task is not None
    assert (task.name, task.max_tokens, task.temperature, task.streaming) == (
        full,
        max_tokens,
        temperature,
        streaming,
    )


def test_every_candidate_is_a_known_model_that_can_do_what_its_route_is_for() -> None:
    wanted = {"vision": "vision", "embeddings": "embedding", "transcriptions": "transcription"}
    for priority in PRIORITIES:
        for name in (*OTHER_ROUTES, *CATALOG.task_types):
            candidates = CATALOG.route(priority, name)
            assert candidates, (priority, name)
            for candidate in map(CATALOG.resolve, candidates):
                assert candidate.place in KINDS
                traits = CATALOG.traits(candidate.model, candidate.place or "")
                need = wanted.get(name, "speech" if name == "speech" else "chat")
                assert need in traits.abilities, (priority, name, str(candidate))


def test_every_alias_and_replacement_ends_at_a_model_that_lives() -> None:
    for target in (*CATALOG.aliases.values(), *(new for _, new in CATALOG.retired)):
        end = CATALOG.resolve(target)
        assert end.place in KINDS
        assert end.model not in CATALOG.aliases
        assert CATALOG.replacement(end.model) is None
        assert CATALOG.traits(end.model, end.place).abilities


def test_no_pattern_hides_behind_an_earlier_one() -> None:
    (layer,) = CATALOG.models
    for index, pattern in enumerate(layer):
        kind, _, rest = pattern.glob.rpartition("/")
        sample = rest.replace("[0-9]", "7").replace("[123]", "2").replace("[12]", "1")
        sample = sample.replace("[4-9]", "5").replace("[6-9]", "7").replace("*", "")
        hidden = [each.glob for each in layer[:index] if each.fits(sample, kind)]
        assert not hidden, pattern.glob


@pytest.mark.parametrize(
    ("model", "kind", "known"),
    [
        ("claude-opus-4-6", "anthropic", {"min_cached_tokens": 4096, "takes_sampling": True}),
        ("claude-opus-9", "anthropic", {"takes_sampling": False, "native_schema": True}),
        ("gpt-12-new", "openai", {"cap_field": "max_completion_tokens", "takes_sampling": False}),
        ("gpt-4o-mini", "openai", {"takes_sampling": True, "max_output_tokens": 16384}),
        ("gemini-5-xenon", "gemini", {"takes_sampling": False, "thought_tokens": 4096}),
        ("llama3.2:3b", "ollama", {"context_tokens": 131072, "native_schema": True}),
        ("llama3.2:3b", "openai", {"context_tokens": None, "abilities": frozenset()}),
        ("llama3.2:3b", "sim", {"context_tokens": 131072}),
    ],
)
def test_a_model_has_the_traits_of_its_family(model: str, kind: str, known: dict[str, object]) -> None:
    traits = CATALOG.traits(model, kind)
    assert {name: getattr(traits, name) for name in known} == known


def test_a_model_nobody_knows_has_the_defaults() -> None:
    assert CATALOG.traits("x", "openai") == ModelTraits()
    assert CATALOG.traits("x", "openai").can(frozenset({"vision", "tools"}))


def test_a_users_tables_change_what_they_name_and_nothing_else(toml_file: Callable[[str], Path]) -> None:
    config = toml_file(
        """
        [task_types.genre]
        max_tokens = 50
        [task_types.triage]
        temperature = 0.0
        short = ["t"]
        [models."gpt-6-luna"]
        context_tokens = 1000
        [models."house-*"]
        like = "gpt-6-luna"
        abilities = ["chat"]
        [aliases]
        house = "vllm/house-1"
        [routes.cost]
        t = ["house", "ollama/fast"]
        """
    )
    catalog = load_settings({}, config_file=config).catalog
    genre, triage = catalog.task_type("genre"), catalog.task_type("t")
    assert genre is not None
    assert triage is not None
    assert (genre.max_tokens, genre.temperature, triage.name) == (50, 0.1, "triage")
    luna = catalog.traits("gpt-6-luna", "openai")
    assert (luna.context_tokens, luna.max_output_tokens) == (1000, 128000)
    assert catalog.traits("house-1").abilities == {"chat"}
    assert catalog.resolve(Candidate(None, "house")) == Candidate("vllm", "house-1")
    assert [str(each) for each in catalog.route("cost", "triage")] == ["house", "ollama/fast"]
    assert catalog.route("cost", "default") == CATALOG.route("cost", "default")


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("[task_types.x]\nmax_token = 1", "task_types.x.max_token in .*one of max_tokens"),
        ("[task_types.x]\nmax_tokens = 0", "a whole number of at least 1"),
        ("[task_types.x]\nmax_tokens = true", "a whole number of at least 1"),
        ("[task_types.x]\ntemperature = 'hot'", "a number from 0 to 2"),
        ("[task_types.x]\nstreaming = 'often'", "never or always or auto"),
        ("[task_types.x]\nshort = 'x'", "a list of names"),
        ("[task_types]\nx = 1", r"a table \[task_types.x\]"),
        ("task_types = 1", r"a table \[task_types\]"),
        ("[models.x]\nabilities = ['flying']", "a list of chat, vision"),
        ("[models.x]\nlike = 'y'", "another pattern of this table"),
        ("[models.x]\nlike = 'y'\n[models.y]\nlike = 'x'", "no circle"),
        ("[models.x]\ncap_field = 'cap'", "max_tokens or max_completion_tokens"),
        ("[models.x]\nnative_schema = 1", "true or false"),
        ("[models.x]\nthought_tokens = -1", "at least 0"),
        ("[aliases]\nx = 1", "a model such as"),
        ("[aliases]\nx = 'y'\ny = 'x'", "not back to an alias"),
        ("[routes.thrift]\ndefault = ['x']", "speed or quality or cost"),
        ("[routes.cost]\npoetry = ['x']", "one of default, vision"),
        ("[routes.cost]\ndefault = 'x'", "a list such as"),
        ("[ollama.x]\ndownload_gb = 1", "a known setting"),
    ],
)
def test_a_wrong_table_is_refused_by_its_name(
    toml: str, words: str, toml_file: Callable[[str], Path]
) -> None:
    config = toml_file(toml)
    with pytest.raises(SettingsError, match=words):
        load_settings({}, config_file=config)


def test_ollamas_own_names_move_the_aliases_that_routes_use() -> None:
    environ = {
        "OLLAMA_MODEL": "mistral:7b",
        "OLLAMA_MODEL_FAST": "gemma3",
        "DEFAULT_VISION_MODEL": "bakllava",
    }
    catalog = load_settings(environ).catalog
    meant = {name: str(catalog.resolve(Candidate("ollama", name))) for name in ("quality", "fast", "vision")}
    assert meant == {"quality": "ollama/mistral:7b", "fast": "ollama/gemma3", "vision": "ollama/bakllava"}
    assert str(catalog.resolve(Candidate("ollama", "mini"))) == "ollama/phi3.5:mini"
