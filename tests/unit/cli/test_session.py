"""A run uses the stack that runs, also one that another run has begun in the same moment."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest

from app.cli.errors import CliError
from app.cli.live import PlainDisplay
from app.cli.session import Session, Wish, check_providers, session
from app.client.locate import Place, place_of
from app.embedded.clients import Attached
from app.embedded.errors import DirectoryInUse
from app.embedded.files import FileLock
from app.embedded.stack import Stack
from app.embedded.state import StackState
from app.embedded.supervisor import Row
from config.settings import Settings, load_settings

URL = "http://127.0.0.1:1"
WISH = Wish(workers=2, simulator=False, all_models=False)
STATE = StackState(
    os.getpid(),
    "",
    0.0,
    "run",
    URL,
    "bw_key",
    None,
    "redis://r",
    "redis://c",
    "mongodb://m",
    None,
    False,
    {},
    {},
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"BATCHWRIGHT_DATA_DIR": str(tmp_path)}, dotenv=Path(os.devnull))


def test_a_run_that_comes_second_uses_the_stack_of_the_first(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given that no stack runs at the first look, and another run takes the directory before our start,
    looks: list[Attached | None] = [None, Attached(STATE, FileLock(settings.data_dir / "users.lock"))]

    def start(*_: object) -> NoReturn:
        raise DirectoryInUse("in use", "")

    monkeypatch.setattr("app.embedded.joining.attach", lambda *args, **more: looks.pop(0))
    monkeypatch.setattr(Stack, "start", start)
    # when a session begins, then it is one on that stack, which is not ours to stop.
    with session(settings, WISH, PlainDisplay()) as found:
        assert found.stack is None
    assert f"using the stack that runs here ({URL})" in capsys.readouterr().err


def test_a_stack_of_our_own_is_stopped_when_the_session_ends(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[bool] = []
    monkeypatch.setattr(Stack, "start", lambda stack, on_progress: setattr(stack, "_state", STATE))
    monkeypatch.setattr(Stack, "stop", lambda stack: stopped.append(True))

    def use() -> None:
        with session(settings, WISH, PlainDisplay()) as found:
            assert found.stack is not None
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        use()
    assert stopped == [True]


def test_a_run_goes_on_with_one_worker_less_but_not_with_none(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    client: Any = None
    stack = Stack(settings, workers=2)
    lost = Row("worker-1", 1, "", "given up", 0.0, 5)
    well = replace(lost, name="worker-2", state="up")
    monkeypatch.setattr(stack, "rows", lambda: (lost, well))
    Session(client, stack).check()
    monkeypatch.setattr(stack, "rows", lambda: (lost, replace(lost, name="worker-2")))
    with pytest.raises(CliError, match="worker-1, worker-2 crashed again and again"):
        Session(client, stack).check()


def test_prompts_never_go_to_another_server_than_the_settings_name() -> None:
    ours = load_settings(
        {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://127.0.0.1:18100/v1"}, dotenv=Path(os.devnull)
    )
    check_providers(replace(STATE, providers={"openai": "http://127.0.0.1:18100/v1"}), ours)
    with pytest.raises(CliError, match="not at http://127"):
        check_providers(replace(STATE, providers={"openai": "http://127.0.0.1:9/v1"}), ours)


def test_a_run_ends_soon_when_the_stack_of_another_has_ended() -> None:
    gone = Session(cast("Any", None), joined=STATE)  # its owner's identity is nobody's
    with pytest.raises(CliError, match="has ended") as ended:
        gone.check()
    assert ended.value.exit_code == 3


def test_a_key_that_is_set_goes_to_the_stack_that_runs_here_in_place_of_its_own(settings: Settings) -> None:
    meant = load_settings({"BATCHWRIGHT_API_KEY": "bw_wrong"}, dotenv=Path(os.devnull))
    assert place_of(STATE, meant) == Place(URL, "bw_wrong")
    assert place_of(STATE, settings) == Place(URL, "bw_key")
