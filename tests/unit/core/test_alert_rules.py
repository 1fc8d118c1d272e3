"""When alerts begin, fire and end: never sooner than a rule says, and nothing by what could not be measured."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.alerts import BUILT_IN, MEASURES, AlertRule
from workers.core.alert_rules import (
    Action,
    Begin,
    Fire,
    Forget,
    Measured,
    Note,
    Phase,
    Resolve,
    Standing,
    alert_id,
    decide,
    event_id,
)

pytestmark = pytest.mark.fast
RULE = AlertRule(name="slow", measure="api_p95_s", threshold=5.0, for_s=60.0)
BAD, GOOD = 6.0, 5.0
STEP_S = 15.0
# What is measured every quarter of a minute: a value, nothing at all (None), or it could not be (missing).
MOMENTS = st.lists(st.sampled_from(["bad", "good", "nothing", "unknown"]), max_size=40)


def measured(moment: str) -> Measured:
    if moment == "unknown":
        return {}
    return {RULE.measure: {"": {"bad": BAD, "good": GOOD, "nothing": None}[moment]}}


def after(standing: Standing | None, action: Action, now_s: float) -> Standing | None:
    """What the store makes of an action."""
    if isinstance(action, Begin):
        phase: Phase = "firing" if action.fires else "pending"
        id_ = alert_id(action.rule.name, action.subject, now_s)
        return Standing(id_, action.rule.name, action.subject, phase, now_s)
    assert standing is not None
    if isinstance(action, Fire):
        return replace(standing, phase="firing")
    if isinstance(action, Note):
        return replace(standing, clear_since_s=action.clear_since_s)
    return None


def played(moments: list[str], rule: AlertRule = RULE) -> list[tuple[int, Action]]:
    """What is decided at each moment, each being done."""
    found: list[tuple[int, Action]] = []
    standing: Standing | None = None
    for number, moment in enumerate(moments):
        now_s = 1000.0 + number * STEP_S
        actions = decide([rule], measured(moment), [standing] if standing else [], now_s)
        assert len(actions) <= 1
        for action in actions:
            found.append((number, action))
            standing = after(standing, action, now_s)
    return found


@given(MOMENTS)
def test_an_alert_fires_only_after_its_time_without_a_good_moment(moments: list[str]) -> None:
    for number, action in played(moments):
        if isinstance(action, Fire):
            known = [each for each in moments[: number + 1] if each != "unknown"]
            assert known[-2:] == ["bad", "bad"]
            last_good = max((i for i in range(number) if moments[i] in ("good", "nothing")), default=-1)
            first_bad = moments.index("bad", last_good + 1)
            assert (number - first_bad) * STEP_S >= RULE.for_s


@given(MOMENTS)
def test_a_firing_alert_ends_only_after_its_time_without_a_bad_moment(moments: list[str]) -> None:
    for number, action in played(moments):
        if isinstance(action, Resolve):
            last_bad = max(i for i in range(number) if moments[i] == "bad")
            assert (number - last_bad) * STEP_S >= RULE.for_s


@given(MOMENTS)
def test_firing_and_ending_take_turns_and_what_nobody_could_measure_changes_nothing(
    moments: list[str],
) -> None:
    found = played(moments)
    told = [type(action) for _, action in found if isinstance(action, (Fire, Resolve))]
    assert told == [Fire, Resolve] * (len(told) // 2) + [Fire] * (len(told) % 2)
    assert not [number for number, _ in found if moments[number] == "unknown"]


@given(MOMENTS)
def test_a_rule_without_a_time_fires_and_ends_at_once(moments: list[str]) -> None:
    told = [action for _, action in played(moments, replace(RULE, for_s=0.0))]
    assert all(isinstance(action, (Begin, Resolve, Note)) for action in told)
    assert all(action.fires for action in told if isinstance(action, Begin))
    assert all(action.clear_since_s is None for action in told if isinstance(action, Note))


def test_who_looks_a_second_time_at_what_then_stands_decides_the_same_once() -> None:
    begun = decide([RULE], measured("bad"), [], 1000.0)
    assert begun == [Begin(RULE, "", BAD, fires=False)]
    standing = after(None, begun[0], 1000.0)
    assert standing is not None
    assert decide([RULE], measured("bad"), [standing], 1000.0) == []
    assert decide([RULE], measured("bad"), [standing], 1060.0) == [Fire(standing, RULE, BAD)]
    assert decide([RULE], measured("good"), [standing], 1060.0) == [Forget(standing)]


def test_each_subject_has_an_alert_of_its_own_and_one_that_is_gone_is_good() -> None:
    standing = Standing("alert_1", RULE.name, "acme", "firing", 1000.0)
    values: Measured = {RULE.measure: {"other": BAD}}
    assert decide([RULE], values, [standing], 2000.0) == [
        Note(standing, None, 2000.0),
        Begin(RULE, "other", BAD, fires=False),
    ]


def test_what_stands_of_a_rule_that_is_no_more_or_is_off_ends() -> None:
    firing = Standing("alert_1", RULE.name, "", "firing", 1000.0)
    pending = Standing("alert_2", "gone", "", "pending", 1000.0)
    off = replace(RULE, enabled=False)
    assert decide([off], measured("bad"), [firing, pending], 2000.0) == [
        Resolve(firing, None),
        Forget(pending),
    ]


def test_a_value_under_its_threshold_is_bad_where_the_rule_says_so() -> None:
    low = replace(RULE, above=False, for_s=0.0)
    assert decide([low], {RULE.measure: {"": 4.9}}, [], 0.0) == [Begin(low, "", 4.9, fires=True)]
    assert decide([low], {RULE.measure: {"": 5.0}}, [], 0.0) == []


def test_ids_are_derived_and_sort_by_time() -> None:
    assert alert_id("slow", "acme", 1000.0) == alert_id("slow", "acme", 1000.0)
    assert alert_id("slow", "acme", 1000.0) != alert_id("slow", "other", 1000.0)
    assert alert_id("zzz", "", 1000.0) < alert_id("aaa", "", 1000.001)
    assert event_id("alert_1", "alert.firing") == "evt_alert_1_firing"


def test_every_measure_has_a_rule_of_ours() -> None:
    assert sorted(rule.measure for rule in BUILT_IN) == sorted(MEASURES)
