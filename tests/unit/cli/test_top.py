"""`top`: one frame or many, keys, and a server that goes away and comes back."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli import top as verb
from app.cli.errors import NOT_REACHED, exit_code_of
from app.cli.top_frame import Sight, View, frame
from app.cli.top_keys import CTRL_Z, Keys, keys_of
from app.client.errors import ApiRefused, ApiUnreachable
from tests.support.top_replies import batch, reply

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        (b"q", ["q"]),
        (b"\x1b[A\x1b[Bj", ["up", "down", "j"]),
        (b"\x1b[5~\x1b[1;5Cs", ["page up", "s"]),
        (b"\x1b", []),
        (b"\xff\x00", ["\xff", "\x00"]),
    ],
)
def test_what_a_terminal_sends_becomes_keys(typed: bytes, names: list[str]) -> None:
    assert keys_of(typed) == names


@given(st.binary(max_size=40))
def test_no_bytes_break_the_reading_of_keys(typed: bytes) -> None:
    assert len(keys_of(typed)) <= len(typed)


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_the_terminal_is_as_it_was_after_a_ctrl_c_and_a_wake_is_no_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import termios

    ours, theirs = os.openpty()
    wake, bell = os.pipe()

    def read_keys() -> None:
        with Keys(wake) as keys:
            assert not termios.tcgetattr(theirs)[3] & termios.ICANON
            os.write(bell, b"...")
            assert keys.wait(5) == []
            os.write(ours, b"j")
            assert keys.wait(5) == ["j"]
            # a stop by the terminal itself would leave it like this to the shell
            os.write(ours, b"\x1a")
            assert keys.wait(5) == [CTRL_Z]
            raise KeyboardInterrupt

    with os.fdopen(theirs, "r", encoding="utf-8") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        before = termios.tcgetattr(theirs)
        with pytest.raises(KeyboardInterrupt):
            read_keys()
        assert termios.tcgetattr(theirs) == before
    for descriptor in (ours, wake, bell):
        os.close(descriptor)


def served(monkeypatch: pytest.MonkeyPatch, *replies: Any) -> list[str]:
    asked: list[str] = []

    def call(http_call: Any) -> Any:
        found = replies[min(len(asked), len(replies) - 1)]
        asked.append(http_call.path)
        found = found() if callable(found) else found
        if isinstance(found, Exception):
            raise found
        return http_call.read(found)

    @contextmanager
    def server(_: object) -> Iterator[Any]:
        yield SimpleNamespace(call=call, place=SimpleNamespace(url="http://here"))

    monkeypatch.setattr(verb, "named_server", server)
    monkeypatch.setattr(verb, "load", lambda: None)
    monkeypatch.setattr(verb, "_APART_S", 0.0)
    monkeypatch.setattr(verb, "EVERY_S", 0.001)
    return asked


def test_one_frame_is_printed_whole_where_stdout_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = reply() | {"batches": [batch(per_second=None)]}
    asked = served(monkeypatch, first, reply(batches=30))
    assert verb.top(once=False, as_json=False) == 0
    out = capsys.readouterr().out
    assert len(asked) == 2, "rates need two looks"
    assert "words-29.jsonl" in out and "12.5" not in out and "\x1b" not in out and "q quit" not in out


def test_json_is_one_object(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    served(monkeypatch, reply())
    assert verb.top(once=False, as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == reply()


def test_a_server_that_was_never_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    served(monkeypatch, ApiUnreachable("nobody", hint=None))
    with pytest.raises(ApiUnreachable) as raised:
        verb.top(once=True, as_json=False)
    assert exit_code_of(raised.value) == NOT_REACHED


def test_a_server_that_goes_away_is_said_and_seen_again_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_back = threading.Event()

    def later() -> Any:
        assert is_back.wait(5)
        return reply(batches=7)

    served(monkeypatch, ApiUnreachable("it went away", hint=None), later)
    looker = verb.Looker(Sight(reply(), "http://here"))
    looker.start()
    os.read(looker.wake, 64)
    assert looker.sight.trouble == "it went away" and len(looker.sight.data["batches"]) == 2
    is_back.set()
    os.read(looker.wake, 64)
    looker.stop()
    assert looker.sight.trouble == "" and len(looker.sight.data["batches"]) == 7
    text = "\n".join(
        line.plain for line in frame(Sight(reply(), "x", trouble="it went away"), View(), 80, 24)
    )
    assert "it went away; looking again each second" in text


def test_a_key_that_is_not_let_in_any_more_ends_the_view(monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = ApiRefused("no", status=403)
    served(monkeypatch, refusal)
    looker = verb.Looker(Sight(reply(), "http://here"))
    looker.start()
    os.read(looker.wake, 64)
    assert looker.refused is refusal
