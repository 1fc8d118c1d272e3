"""API keys as values: the checksum finds every slip, and no scope grows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workers.core.api_keys import (
    SCOPES,
    Scope,
    allowed,
    holds_key,
    is_key_id,
    is_mistyped,
    outlives,
    recognisable,
    scopes_beyond,
    with_checksum,
    without_secrets,
)
from workers.core.identity import new_api_key, new_key_id

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
KEYS = st.text(LETTERS, min_size=43, max_size=43).map(with_checksum)
SCOPE_SETS = st.frozensets(st.sampled_from(SCOPES))
TIMES = st.none() | st.floats(0, 4e9)


@given(key=KEYS)
def test_a_key_as_it_was_made_is_not_mistyped(key: str) -> None:
    assert len(key) == 52 and not is_mistyped(key)


@given(key=KEYS, place=st.integers(3, 51), letter=st.sampled_from(LETTERS) | st.characters())
def test_any_single_changed_letter_is_noticed(key: str, place: int, letter: str) -> None:
    changed = key[:place] + letter + key[place + 1 :]
    assert is_mistyped(changed) == (changed != key)


@given(key=KEYS, place=st.integers(3, 50))
def test_two_letters_that_changed_places_are_noticed(key: str, place: int) -> None:
    changed = key[:place] + key[place + 1] + key[place] + key[place + 2 :]
    assert is_mistyped(changed) == (changed != key)


@given(text=st.text(max_size=60))
def test_a_text_of_another_form_is_left_to_the_look_up(text: str) -> None:
    if not text.startswith("bw_") or len(text) != 52:
        assert not is_mistyped(text)


def test_a_key_of_an_earlier_version_is_not_mistyped() -> None:
    assert not is_mistyped("bw_" + "A" * 43)


def test_the_checksum_of_a_key_never_changes() -> None:
    # Keys are out there: another sum would refuse them all.
    assert with_checksum("A" * 43) == "bw_" + "A" * 43 + "CxXmNe"


@given(key=KEYS, text=st.text(max_size=45))
def test_what_is_kept_to_know_a_key_by_is_little_and_of_another_text_nothing(key: str, text: str) -> None:
    assert recognisable(key) == key[:8]
    assert recognisable(text) == ""


@given(scopes=SCOPE_SETS)
def test_admin_includes_the_others_and_nothing_else_includes_anything(scopes: frozenset[Scope]) -> None:
    assert allowed(scopes) == (frozenset(SCOPES) if "admin" in scopes else scopes)


def test_a_key_from_before_there_were_scopes_may_do_everything_and_one_without_any_nothing() -> None:
    assert allowed(None) == frozenset(SCOPES)
    assert allowed(()) == allowed(("write",)) == frozenset()


@given(own=SCOPE_SETS, wanted=SCOPE_SETS)
def test_what_can_be_given_away_is_never_more_than_what_one_has(
    own: frozenset[Scope], wanted: frozenset[Scope]
) -> None:
    beyond = scopes_beyond(allowed(own), sorted(wanted))
    assert (not beyond) == (allowed(wanted) <= allowed(own))
    assert not set(beyond) & allowed(own)


@given(own=TIMES, wanted=TIMES)
def test_a_key_outlives_another_if_it_ends_later_or_never(own: float | None, wanted: float | None) -> None:
    never = float("inf")
    assert outlives(own, wanted) == ((never if wanted is None else wanted) > (never if own is None else own))


@given(text=st.text(max_size=60))
def test_only_ids_are_ids(text: str) -> None:
    assert not is_key_id(text) or text.startswith("key_")


def test_a_key_is_not_taken_for_an_id_nor_an_id_for_a_key() -> None:
    assert is_key_id(new_key_id(1_700_000_000_000)) and not is_key_id(new_api_key())
    assert not is_key_id(new_key_id(1) + "\n")


@given(key=KEYS, before=st.text(LETTERS + ' "{:', max_size=60), after=st.text(' "}/?&=:,', max_size=9))
def test_a_key_is_found_wherever_it_stands(key: str, before: str, after: str) -> None:
    assert holds_key(f"{before}{key}{after}".encode())


@given(key=KEYS, place=st.integers(3, 51))
def test_what_only_looks_like_a_key_may_be_stored(key: str, place: int) -> None:
    other = "A" if key[place] != "A" else "B"
    assert not holds_key((key[:place] + other + key[place + 1 :]).encode())


@given(
    key=KEYS, before=st.sampled_from(["", "/v1/batches/", "'", "batch_", "?key="]), kept=st.integers(23, 52)
)
def test_a_key_in_a_text_is_cut_short_even_if_it_is_not_whole(key: str, before: str, kept: int) -> None:
    assert without_secrets(f"{before}{key[:kept]}'.") == f"{before}bw_********'."


def test_secrets_of_webhooks_and_of_providers_are_cut_short_and_ids_are_not() -> None:
    secret, provider_key = "whsec_" + "aB3+" * 11, "sk-proj-" + "x1_-" * 10
    assert without_secrets(f"{secret} and {provider_key}") == "whsec_******** and sk-********"
    plain = (
        "batch_"
        + "0a" * 16
        + " file-"
        + "0a" * 16
        + " key_"
        + "0a" * 16
        + " task-and-risk-of-many-letters-more"
    )
    assert without_secrets(plain) == plain
