"""Who is let in to Flower, and what its own environment may say."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.faces import Flower
from config.secret import Secret
from config.settings import Settings
from workers.core.errors import UserError
from workers.flower_page import credentials, flower_options, ignore_flowers_own, is_let_in

pytestmark = pytest.mark.fast


def basic(said: bytes, scheme: str = "Basic") -> str:
    return f"{scheme} {b64encode(said).decode()}"


@given(st.text(min_size=1).filter(lambda text: text.isprintable()), st.text())
def test_the_password_lets_in_whatever_is_in_it_and_nothing_else_does(password: str, other: str) -> None:
    settings = replace(Settings(), flower=Flower(user="operator", password=Secret(password)))
    wanted = credentials(settings)
    assert is_let_in(basic(f"operator:{password}".encode()), wanted)
    said = f"operator:{other}".encode("utf-8", "surrogatepass")
    assert is_let_in(basic(said), wanted) == (other == password)


@given(st.text())
def test_no_other_header_lets_in_or_breaks(header: str) -> None:
    assert not is_let_in(header, "operator:password")


def test_the_schemes_name_has_no_case_and_no_other_scheme_will_do() -> None:
    assert is_let_in(basic(b"u:p", "bASIC"), "u:p")
    assert not is_let_in(basic(b"u:p", "Bearer"), "u:p")


def test_a_part_of_a_password_with_a_comma_is_no_password() -> None:
    for part in (b"u:a", b"b", b"u:b", b"a,b"):
        assert not is_let_in(basic(part), "u:a,b")


@pytest.mark.parametrize("password", [None, Secret("")])
def test_flower_does_not_start_without_a_password(password: Secret | None) -> None:
    with pytest.raises(UserError, match="without a password"):
        credentials(replace(Settings(), flower=Flower(password=password)))


def test_the_password_is_on_no_command_line() -> None:
    settings = replace(Settings(), flower=Flower(password=Secret("pass-word")))
    assert "pass-word" not in " ".join(flower_options(settings))


def test_of_flowers_own_variables_those_remain_that_say_nothing_of_who_may_come() -> None:
    ours = {"PATH": "/bin", "BATCHWRIGHT_FLOWER_USER": "u", "FLOWER_URL_PREFIX": "flower"}
    undoing = (
        "BASIC_AUTH",
        "AUTH",
        "UNAUTHENTICATED_API",
        "CONF",
        "PORT",
        "XHEADERS",
        "DEBUG",
        "UNIX_SOCKET",
    )
    environ = ours | {f"FLOWER_{name}": "x" for name in undoing}
    ignore_flowers_own(environ)
    assert environ == ours
