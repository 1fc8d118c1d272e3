"""What of newly read settings a running process goes by."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.alerts import BUILT_IN
from config.fields import specs
from config.prices import OwnPrice
from config.provider import Limits, Provider, Timeouts
from config.secret import Secret
from config.settings import Settings, SettingsError, load_settings
from config.tree import Log, Servers
from workers.core.reloading import reload

pytestmark = pytest.mark.fast
OPENAI = Provider(name="openai", kind="openai", base_url="https://a/v1", api_key=Secret("sk-old"))
OTHER = Provider(name="other", kind="ollama", base_url="http://b")
OLD = Settings(providers=(OPENAI, OTHER))

limits = st.builds(
    Limits,
    requests_per_minute=st.none() | st.integers(1, 10**6),
    tokens_per_minute=st.none() | st.integers(1, 10**6),
    concurrency=st.none() | st.integers(1, 100),
)


def with_openai(**changes: object) -> Settings:
    return replace(OLD, providers=(replace(OPENAI, **changes), OTHER))  # type: ignore[arg-type]


def test_the_same_settings_change_nothing() -> None:
    found = reload(OLD, OLD)
    assert (found.settings, found.changed, found.restart) == (OLD, (), ())


def test_a_raised_limit_is_live_and_said_with_both_numbers() -> None:
    found = reload(
        with_openai(limits=Limits(requests_per_minute=500)),
        with_openai(limits=Limits(requests_per_minute=800)),
    )
    assert found.changed == ("openai: requests_per_minute 500 -> 800",)
    assert found.settings.providers[0].limits.requests_per_minute == 800


@given(old=limits, new=limits)
def test_every_limit_is_taken_over_and_each_that_differs_is_said(old: Limits, new: Limits) -> None:
    found = reload(with_openai(limits=old), with_openai(limits=new))
    assert found.settings.providers[0].limits == new
    differ = [name for name in Limits.__dataclass_fields__ if getattr(old, name) != getattr(new, name)]
    assert [words.split()[1] for words in found.changed] == differ
    assert found.restart == ()


def test_a_rotated_key_is_live_and_neither_key_is_said() -> None:
    found = reload(OLD, with_openai(api_key=Secret("sk-new")))
    assert found.changed == ("openai: api_key changed",)
    key = found.settings.providers[0].api_key
    assert key is not None and key.reveal() == "sk-new"


def test_models_fallbacks_and_options_are_live() -> None:
    new = with_openai(models=("m-1",), fallback=("other",), options={"x": "secret"})
    found = reload(OLD, new)
    assert found.settings.providers == new.providers
    assert found.changed == (
        "openai: models * -> m-1",
        "openai: options none -> ********",
        "openai: fallback none -> other",
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"base_url": "https://c/v1"}, "openai: base_url https://a/v1 -> https://c/v1"),
        ({"headers": {"x": "secret"}}, "openai: headers none -> ********"),
        ({"kind": "anthropic"}, "openai: kind openai -> anthropic"),
    ],
)
def test_where_and_how_a_provider_is_reached_takes_a_restart(changes: dict[str, object], words: str) -> None:
    found = reload(OLD, with_openai(**changes))
    assert (found.changed, found.restart) == ((), (words,))
    assert found.settings.providers == OLD.providers


def test_timeouts_take_a_restart() -> None:
    found = reload(OLD, with_openai(timeouts=Timeouts(read_s=1.0)))
    assert found.changed == () and len(found.restart) == 1
    assert found.settings.providers == OLD.providers


def test_providers_that_come_and_go_take_a_restart_and_the_rest_is_live() -> None:
    new = replace(OLD, providers=(replace(OPENAI, models=("m",)), replace(OTHER, name="third")))
    found = reload(OLD, new)
    assert found.restart == ("third: a new provider", "other: no longer configured")
    assert [provider.name for provider in found.settings.providers] == ["openai", "other"]
    assert found.settings.providers[0].models == ("m",)


def test_alert_rules_that_change_are_said_and_take_a_restart() -> None:
    found = reload(OLD, replace(OLD, alerts=(replace(BUILT_IN[0], threshold=0.5), *BUILT_IN[2:])))
    assert found.restart == (f"alerts: -{BUILT_IN[1].name}, {BUILT_IN[0].name}",)
    assert found.settings.alerts == OLD.alerts


def test_no_setting_changes_unsaid() -> None:
    told = {spec.section or spec.field for spec in specs()}
    # and what the tests above are about; `files` and `sources` say where values came from
    assert {each.name for each in fields(Settings)} - told == {
        *("catalog", "providers", "prices", "alerts"),
        *("files", "sources"),
    }


def test_a_file_that_has_vanished_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "batchwright.toml"
    path.write_text('[log]\nlevel = "debug"\n')
    old = load_settings({}, config_file=path)
    with pytest.raises(SettingsError, match=r"batchwright\.toml: expected a file that is still there"):
        reload(old, load_settings({}))
    both = reload(load_settings({}), old).settings
    assert reload(both, old).changed == ()


def test_another_order_of_the_providers_takes_a_restart() -> None:
    found = reload(OLD, replace(OLD, providers=(OTHER, OPENAI)))
    assert found.restart == ("the order of the providers",)


def test_a_url_with_a_password_is_named_and_not_shown() -> None:
    found = reload(OLD, replace(OLD, servers=Servers(redis_url="redis://:secret@h/0")))
    assert found.restart == ("servers.redis_url: none -> ********",)
    assert found.settings.servers.redis_url is None


def test_the_level_of_the_log_is_live() -> None:
    found = reload(OLD, replace(OLD, log=Log(level="debug", json=True)))
    assert found.settings.log == Log(level="debug", json=False)
    assert found.changed == ("log.level: info -> debug",)
    assert found.restart == ("log.json: False -> True",)


def test_prices_and_the_catalogue_are_live() -> None:
    price = OwnPrice(name="m", input_usd=1.0, output_usd=2.0)
    found = reload(OLD, replace(OLD, prices=(price,), catalog=replace(OLD.catalog, aliases={})))
    assert found.settings.prices == (price,) and found.settings.catalog.aliases == {}
    assert found.changed[-1] == "prices: +m"
    assert found.changed[0].startswith("aliases: -")
