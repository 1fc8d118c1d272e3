"""What `up` says beside where its parts are."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from app.cli.stack_verbs import KeyFile, moved, public_state, shown_key
from config.settings import load_settings
from tests.unit.cli.test_session import STATE


def test_a_part_that_is_not_at_its_usual_port_is_named_with_both() -> None:
    usual = load_settings({}, dotenv=Path(os.devnull))
    state = replace(STATE, api_url="http://127.0.0.1:33529", flower_url="http://flower:pw@127.0.0.1:5555")
    assert moved(state, usual) == ["port 8000 is taken, so the API is at 33529"]
    away = replace(STATE, api_url="http://127.0.0.1:8000", flower_url="http://flower:pw@127.0.0.1:41")
    assert moved(away, usual) == ["port 5555 is taken, so Flower is at 41"]


def test_who_asks_for_any_port_is_told_of_none_that_is_taken() -> None:
    any_port = load_settings({"BATCHWRIGHT_API_PORT": "0"}, dotenv=Path(os.devnull))
    assert moved(replace(STATE, api_url="http://127.0.0.1:33529"), any_port) == []


def test_people_see_the_key_of_the_stack_at_the_start_that_makes_it_and_programs_always() -> None:
    key, path = STATE.api_key, Path("/data/api_key")
    assert key in shown_key(key, path, is_new=True)
    assert shown_key(key, path, is_new=False) == "in /data/api_key"
    told = public_state(STATE, path)
    assert told["api_key_file"] == "/data/api_key"
    assert told["api_key"] == key


def test_a_key_that_nobody_has_seen_is_shown_once(tmp_path: Path) -> None:
    # Given a key that `run` has made
    (tmp_path / "api_key").write_text("bw_made_by_run")
    key = KeyFile(tmp_path / "api_key")
    assert key.is_new
    # When the first `up` has shown it
    key.note_seen()
    # Then the next one says where it lies
    assert not KeyFile(tmp_path / "api_key").is_new
