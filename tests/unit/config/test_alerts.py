"""Alert rules: ours, what other settings say of them, and `[[alerts]]` over both."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from config.alerts import BUILT_IN, MEASURES, AlertRule
from config.settings import Settings, SettingsError, load_settings


def rules(config: Path | None = None, **environ: str) -> dict[str, AlertRule]:
    return {rule.name: rule for rule in load_settings(environ, config_file=config).alerts}


def test_without_a_table_ours_hold_as_they_are() -> None:
    assert load_settings({}).alerts == Settings().alerts == BUILT_IN


def test_thresholds_that_are_settings_of_their_own_come_from_there() -> None:
    found = rules(
        ALERT_ERROR_RATE_THRESHOLD="0.25",
        ALERT_RESPONSE_TIME_THRESHOLD="2",
        BATCHWRIGHT_DISK_WARN_PERCENT="70",
    )
    thresholds = {name: found[name].threshold for name in ("api_errors", "items_failing", "api_slow")}
    assert thresholds == {"api_errors": 0.25, "items_failing": 0.25, "api_slow": 2.0}
    assert found["disk_filling"].threshold == 70.0


def test_a_table_changes_a_rule_of_ours_by_what_it_says_and_adds_others(
    toml_file: Callable[[str], Path],
) -> None:
    found = rules(
        toml_file(
            '[[alerts]]\nname = "api_slow"\nfor_s = 300\n'
            '[[alerts]]\nname = "beat_silent"\nenabled = false\n'
            '[[alerts]]\nname = "idle"\nmeasure = "oldest_due_s"\nunder = 5\n'
        )
    )
    ours = {rule.name: rule for rule in BUILT_IN}
    assert found["api_slow"].for_s == 300.0
    assert found["api_slow"].threshold == ours["api_slow"].threshold
    assert not found["beat_silent"].enabled
    assert (found["idle"].measure, found["idle"].above, found["idle"].threshold) == (
        "oldest_due_s",
        False,
        5.0,
    )
    assert list(found) == [*ours, "idle"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("alerts = 3", "alerts"),
        ("[alerts]\nname = 'api_slow'", "alerts"),
        ("[[alerts]]\nover = 1", "alerts.name"),
        ("[[alerts]]\nname = 'Api Slow'", "alerts.name"),
        ("[[alerts]]\nname = 'api_slow'\nfor = 3", "alerts.for"),
        ("[[alerts]]\nname = 'api_slwo'\nover = 3", "did you mean api_slow?"),
        ("[[alerts]]\nname = 'mine'\nmeasure = 'oldest_du_s'", "did you mean oldest_due_s?"),
        ("[[alerts]]\nname = 'mine'\nmeasure = 'oldest_due_s'", "alerts.mine.over"),
        ("[[alerts]]\nname = 'mine'\nmeasure = ['oldest_due_s']", "alerts.mine.measure"),
        ("[[alerts]]\nname = 'api_slow'\nover = 1\nunder = 2", "either"),
        ("[[alerts]]\nname = 'api_slow'\nover = true", "alerts.api_slow.over"),
        ("[[alerts]]\nname = 'api_slow'\nover = nan", "alerts.api_slow.over"),
        ("[[alerts]]\nname = 'api_slow'\nfor_s = -1", "alerts.api_slow.for_s"),
        ("[[alerts]]\nname = 'api_slow'\nenabled = 'yes'", "alerts.api_slow.enabled"),
        ("[[alerts]]\nname = 'api_slow'\n[[alerts]]\nname = 'api_slow'", "alerts.name"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(text: str, words: str, toml_file: Callable[[str], Path]) -> None:
    with pytest.raises(SettingsError, match=re.escape(words)):
        load_settings({}, config_file=toml_file(text + "\n"))


def test_every_rule_of_ours_says_what_to_do_in_a_sentence() -> None:
    assert len({rule.name for rule in BUILT_IN}) == len(BUILT_IN)
    for rule in BUILT_IN:
        assert rule.measure in MEASURES
        assert rule.helps.endswith(".")


def test_the_page_lists_the_rules_and_measures_as_they_are() -> None:
    page = (Path(__file__).parents[3] / "docs" / "analytics.md").read_text(encoding="utf-8")
    for rule in BUILT_IN:
        lasts = f"{rule.for_s:g} s" if rule.for_s else "at once"
        assert (
            f"| `{rule.name}` | `{rule.measure}` | over {rule.threshold:g} | {lasts} | {rule.helps} |" in page
        )
    for name, meaning in MEASURES.items():
        assert f"| `{name}` | {meaning} |" in page
