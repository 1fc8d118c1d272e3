"""Ports that are free, and stay ours among ourselves."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.embedded.errors import PortTaken
from app.embedded.ports import PortClaims, PortWish, is_free
from app.embedded.servers import MOST_PORTS_TRIED, on_free_port


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_taken_port_is_replaced_by_a_free_one(tmp_path: Path, taken_port: int) -> None:
    port = PortClaims(tmp_path).choose(PortWish("api", taken_port))
    assert port != taken_port
    assert is_free(port)


def test_a_port_a_person_has_set_is_never_replaced(tmp_path: Path, taken_port: int) -> None:
    wish = PortWish("api", taken_port, demanded_by="BATCHWRIGHT_API_PORT")
    with pytest.raises(PortTaken, match=f"port {taken_port} for api is taken.*change BATCHWRIGHT_API_PORT"):
        PortClaims(tmp_path).choose(wish)


def test_two_stacks_never_choose_the_same_port_though_neither_has_bound_it(tmp_path: Path) -> None:
    one, two = PortClaims(tmp_path), PortClaims(tmp_path)
    wished = PortClaims(tmp_path).choose(PortWish("any"))
    assert one.choose(PortWish("api", wished)) == wished
    assert two.choose(PortWish("api", wished)) != wished
    one.release()
    assert two.choose(PortWish("flower", wished)) == wished


def test_a_port_lost_between_choosing_and_binding_is_exchanged(tmp_path: Path) -> None:
    tried: list[int] = []

    def lose_the_first(port: int) -> int:
        tried.append(port)
        if len(tried) == 1:
            raise PortTaken("lost")
        return port

    claims = PortClaims(tmp_path)
    usual = claims.choose(PortWish("api"))
    claims.release()
    assert on_free_port(claims, PortWish("api", usual), lose_the_first) == tried[1]
    assert tried[0] == usual != tried[1]


def test_a_port_that_is_always_lost_is_given_up(tmp_path: Path) -> None:
    tried: list[int] = []

    def always_lost(port: int) -> None:
        tried.append(port)
        raise PortTaken("lost")

    with pytest.raises(PortTaken):
        on_free_port(PortClaims(tmp_path), PortWish("api"), always_lost)
    assert len(set(tried)) == MOST_PORTS_TRIED
