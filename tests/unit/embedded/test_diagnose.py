"""The last words of a process become a line that helps. The logs are real ones, shortened."""

import pytest

from app.embedded.diagnose import explain_end, last_words
from app.embedded.errors import PortTaken, StackError

MONGOD_LOCKED = (
    '{"s":"E","id":20557,"msg":"DBException in initAndListen, terminating","attr":{"error":"'
    "DBPathInUse: Unable to lock the lock file: /d/mongodb/mongod.lock (Resource temporarily unavailable). "
    'Another mongod instance is already running on the /d/mongodb directory"}}\n'
    '{"s":"I","id":20565,"msg":"Now exiting"}\n'
)


def explain(log_text: str, returncode: int = 1) -> StackError:
    return explain_end("mongod", returncode, log_text, log_path="/d/logs/mongod.log", directory="/d/mongodb")


@pytest.mark.parametrize(
    ("log_text", "meaning", "hint"),
    [
        (MONGOD_LOCKED, "another mongod is using its directory /d/mongodb", "stop that mongod"),
        ("write: No space left on device", "the disk is full", "free some space"),
        (
            "Can't open the append-only file: Permission denied",
            "may not write to /d/mongodb",
            "right to write",
        ),
        (
            "Wrong signature trying to load DB from file",
            "in /d/mongodb is damaged",
            "move the directory away",
        ),
        ("UPGRADE PROBLEM: the data files need", "another version", "use that version"),
        ("Can't handle RDB format version 80", "another version", "use that version"),
        (
            "x: error while loading shared libraries: libssl.so.3: no",
            "a library it needs",
            "install the library",
        ),
        (
            "api: a restore into the database bw has begun and not ended; repeat it: batchwright restore FILE",
            "a restore into its database has begun and not ended",
            "batchwright restore FILE",
        ),
    ],
)
def test_a_known_cause_is_named_with_what_helps(log_text: str, meaning: str, hint: str) -> None:
    error = explain(log_text)
    assert meaning in error.message
    assert hint in error.hint


@pytest.mark.parametrize(
    "log_text",
    [
        "Could not create server TCP listening socket 127.0.0.1:6379: bind: Address already in use",
        "OSError: [Errno 98] error while attempting to bind on address ('127.0.0.1', 8000)",
        "api: cannot listen on 0.0.0.0:8000: the port is taken; choose another, or 0 for a free one",
        "api: cannot listen on :::8000: the port is taken; choose another, or 0 for a free one",
    ],
)
def test_a_taken_port_is_an_error_of_its_own_so_that_another_port_can_be_tried(log_text: str) -> None:
    assert isinstance(explain(log_text), PortTaken)


def test_an_unknown_end_quotes_the_last_words_and_names_the_log() -> None:
    error = explain("starting\n\nTraceback\nValueError: no such thing\n", returncode=3)
    assert error.message == (
        "mongod ended with exit code 3, its last words: starting | Traceback | ValueError: no such thing"
    )
    assert "/d/logs/mongod.log" in error.hint


def test_a_killed_process_is_told_by_its_signal() -> None:
    assert "ended with signal 9" in explain("", returncode=-9).message


def test_a_line_of_json_is_quoted_by_its_message_and_reason() -> None:
    words = last_words(MONGOD_LOCKED)
    assert words.startswith("DBException in initAndListen, terminating: DBPathInUse")
    assert words.endswith("Now exiting")
    assert "{" not in words


def test_an_error_is_one_line() -> None:
    assert "\n" not in str(explain("a\nb\nc\nd\n"))
