"""Which providers a worker process works for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.serving import served, strangers

pytestmark = pytest.mark.fast
CONFIGURED = ("sim", "azure", "openai", "ollama")
NAMES = st.sampled_from(CONFIGURED)


@pytest.mark.parametrize(
    ("wish", "left"),
    [
        (None, CONFIGURED),
        ("", CONFIGURED),
        ("openai", ("openai",)),
        (" ollama, azure ", ("azure", "ollama")),
        ("-openai,-ollama", ("sim", "azure")),
        ("openai,azure,-azure", ("openai",)),
        ("anthropic", ()),
    ],
)
def test_a_process_works_for_those_it_names_or_for_all_but_those(
    wish: str | None, left: tuple[str, ...]
) -> None:
    assert served(CONFIGURED, wish) == left


@given(st.lists(NAMES, min_size=1, unique=True))
def test_the_workers_of_some_providers_and_the_one_of_all_others_serve_each_provider_once(
    dedicated: list[str],
) -> None:
    rest = served(CONFIGURED, ",".join(f"-{name}" for name in dedicated))
    each = [name for wish in dedicated for name in served(CONFIGURED, wish)]
    assert sorted([*rest, *each]) == sorted(CONFIGURED)


def test_a_name_that_no_provider_has_is_told_and_one_that_is_left_out_need_not_exist() -> None:
    assert strangers(CONFIGURED, "openai,opnai,-anthropic") == ("opnai",)
