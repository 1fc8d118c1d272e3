"""Log lines: one event a line, as text or JSON."""

from __future__ import annotations

import io
import json
import logging
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hpack import Encoder
from structlog.contextvars import bound_contextvars

from config.provider import Provider
from config.secret import Secret
from config.settings import Api, Flower, Log, Servers, Settings
from config.watching import Monitoring
from workers import telemetry
from workers.celery_config import TICK_TASK
from workers.core.identity import new_api_key
from workers.store.threads import Threads
from workers.telemetry import SeldomBrokerAway, log_by, log_on_by, may_colour, set_up_logging

pytestmark = pytest.mark.fast
CONSUMER = "celery.worker.consumer.consumer"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    lines, telemetry._LINES = telemetry._LINES, telemetry._Lines()
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = handlers, level
    telemetry._LINES = lines


def test_control_characters_reach_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info", as_json=False)
    logging.getLogger("batchwright").warning("said %s", "\x1b[31mred\x1b[0m\rforged")
    assert "\x1b" not in (text := capsys.readouterr().err)
    assert "WARNING batchwright said \\x1b[31mred" in text


def test_an_event_is_one_line_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info", as_json=False)
    logging.getLogger("batchwright").warning("said %s", "a\n2026-01-01 ERROR forged\x9b31m")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("said a\\x0a2026-01-01 ERROR forged\\x9b31m")


def test_a_traceback_keeps_its_lines_but_no_escape_codes(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info", as_json=False)
    try:
        raise ValueError("\x1b[31mred")
    except ValueError:
        logging.getLogger("batchwright").exception("failed")
    text = capsys.readouterr().err
    assert "\x1b" not in text and len(text.splitlines()) > 3
    assert text.endswith("ValueError: \\x1b[31mred\n")


@pytest.mark.parametrize("as_json", [False, True])
def test_a_key_that_somebody_put_into_a_path_is_in_no_line_and_no_traceback(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    set_up_logging("debug", as_json=as_json)
    key = new_api_key()
    try:
        raise ValueError(f"no batch {key}")
    except ValueError:
        logging.getLogger("batchwright").exception("GET /v1/batches/%s failed", key)
    assert key not in (text := capsys.readouterr().err)
    assert text.count("bw_********") == 2


def test_what_libraries_say_of_headers_and_documents_is_logged_at_no_level(
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_up_logging("debug", as_json=False)
    for library in ("pymongo.command", "httpcore.http11", "python_multipart.multipart"):
        logging.getLogger(library).debug("a prompt")
    Encoder().encode([("authorization", "Bearer a key of a provider"), ("x-api-key", "another")])
    assert capsys.readouterr().err == ""


def test_json_lines_hold_level_name_time_and_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info", as_json=True)
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("batchwright").exception("no %d", 7)
    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["logger"], line["event"]) == ("error", "batchwright", "no 7")
    assert "ValueError: broken" in line["exception"] and line["timestamp"]


def test_one_line_a_request_of_the_http_client_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info", as_json=False)
    logging.getLogger("httpx").info("HTTP Request: POST")
    assert capsys.readouterr().err == ""


def test_a_message_of_celery_on_several_lines_is_one_line_without_marks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_up_logging("info", as_json=False)
    logging.getLogger(CONSUMER).error(
        "consumer: Cannot connect to %s: %s.\n%s\n", "redis://h", "refused\x1b[31m", "Trying again..."
    )
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("Cannot connect to redis://h: refused\\x1b[31m. Trying again...")


def test_that_the_broker_is_away_is_said_at_first_and_then_every_30_s() -> None:
    now_s = iter([0.0, 1.0, 29.9, 30.0, 31.0])
    seldom = SeldomBrokerAway(lambda: next(now_s))
    away = logging.LogRecord(CONSUMER, 40, "", 0, "consumer: Cannot connect to %s: %s.", ("a", "b"), None)
    other = logging.LogRecord(CONSUMER, 40, "", 0, "consumer: Connection to broker lost", (), None)
    assert [seldom.filter(away) for _ in range(5)] == [True, False, False, True, False]
    assert seldom.filter(other)


def test_fields_are_part_of_the_line_in_both_forms(capsys: pytest.CaptureFixture[str]) -> None:
    fields = {"batch_id": "batch_1", "ms": 1.5}
    set_up_logging("info", as_json=True)
    logging.getLogger("batchwright").info("shard", extra=fields)
    assert json.loads(capsys.readouterr().err).items() >= fields.items()
    set_up_logging("info", as_json=False)
    logging.getLogger("batchwright").info("shard", extra=fields)
    assert capsys.readouterr().err.endswith(" INFO batchwright shard batch_id=batch_1 ms=1.5\n")


async def test_ids_come_along_into_the_threads_of_a_store(capsys: pytest.CaptureFixture[str]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    set_up_logging("info", as_json=True)
    with ThreadPoolExecutor(1) as pool, bound_contextvars(shard_id="s-1"):
        await Threads(pool).call(logging.getLogger("batchwright.store").warning, "slow")
    assert json.loads(capsys.readouterr().err)["shard_id"] == "s-1"


def test_what_belongs_to_the_process_is_on_every_line_of_every_thread(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log_by(Settings(log=Log(json=True)), worker="worker-1")
    thread = threading.Thread(
        target=logging.getLogger("celery.app.trace").info, args=("Task %s", "succeeded")
    )
    thread.start()
    thread.join()
    line = json.loads(capsys.readouterr().err)
    assert (line["worker"], line["event"]) == ("worker-1", "Task succeeded")


def test_a_configured_key_of_no_known_form_is_in_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    provider = Provider(
        name="p",
        kind="openai",
        base_url="http://h",
        api_key=Secret("odd key!"),
        headers={"x": "another-secret-value"},
    )
    settings = Settings(providers=(provider,))
    log_by(settings)
    log = logging.getLogger("batchwright")
    log.warning("with odd key! and another-secret-value", extra={"field": "odd key!"})
    rotated = replace(settings, providers=(replace(provider, api_key=Secret("new odd key")),))
    log_on_by(rotated)
    log.warning("odd key! and new odd key")
    text = capsys.readouterr().err
    assert "odd key" not in text and "another-secret" not in text
    assert text.count("********") == 5


def test_passwords_of_servers_and_pages_are_in_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    urls = Servers(
        mongodb_url="mongodb://user:p%40ss%2Fw0rd@h/db",
        redis_url="redis://:se/cr@et-one@h",
        broker_url="amqp://batchwright:batchwright@h",
    )
    flower, watched = (
        Flower(password=Secret("flowers-own")),
        Monitoring(metrics_token=Secret("token-of-metrics")),
    )
    log_by(Settings(servers=urls, flower=flower, monitoring=watched, api=Api(key=Secret("key-of-mine"))))
    log = logging.getLogger("batchwright")
    for said in (
        "p%40ss%2Fw0rd",
        "p@ss/w0rd",
        "se/cr@et-one",
        "flowers-own",
        "token-of-metrics",
        "key-of-mine",
    ):
        log.warning("failed with %s at %s", said, urls.redis_url, extra={"field": f"x{said}"})
    text = capsys.readouterr().err
    for part in ("w0rd", "cr@et", "flowers", "token-of", "of-mine"):
        assert part not in text
    assert "batchwright failed" in text


def test_the_level_follows_settings_that_are_read_anew(capsys: pytest.CaptureFixture[str]) -> None:
    log_by(Settings())
    log_on_by(Settings(log=Log(level="debug")))
    logging.getLogger("batchwright").debug("seen")
    assert "seen" in capsys.readouterr().err


def test_colours_are_for_terminals_whose_owner_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert may_colour(Terminal()) and not may_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not may_colour(Terminal())


def celerys(name: str, args: str) -> logging.LogRecord:
    record = logging.LogRecord("celery.app.trace", logging.INFO, "", 0, "Task %s succeeded", (name,), None)
    record.data = {"id": "1", "name": name, "args": args}
    return record


def test_of_a_task_our_ids_are_said_and_nothing_else_that_came_with_its_message(
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_up_logging("info", as_json=True)
    batch_id = "batch_" + "0a" * 16
    for args in (f"('{batch_id}',)", f"('{batch_id}.000001',)", "('a prompt that somebody forged',)"):
        logging.getLogger("celery.app.trace").handle(celerys("shard.sim", args))
    plan, shard, forged = map(json.loads, capsys.readouterr().err.splitlines())
    assert plan["batch_id"] == shard["batch_id"] == batch_id
    assert shard["shard_id"] == f"{batch_id}.000001" and "shard_id" not in plan
    assert "forged" not in str(forged) and "batch_id" not in forged


def test_ticks_are_said_at_debug_alone(capsys: pytest.CaptureFixture[str]) -> None:
    for level in ("info", "debug"):
        set_up_logging(level, as_json=False)
        logging.getLogger("celery.app.trace").handle(celerys(TICK_TASK, "('tick',)"))
        logging.getLogger("celery.app.trace").handle(celerys("plan.batch", "()"))
    assert [line.split(" ")[4] for line in capsys.readouterr().err.splitlines()] == [
        "plan.batch",
        TICK_TASK,
        "plan.batch",
    ]


def test_warnings_of_python_are_lines_like_all_others(capsys: pytest.CaptureFixture[str]) -> None:
    log_by(Settings(log=Log(json=True)))
    warnings.warn("old\nand odd", UserWarning, stacklevel=1)
    line = json.loads(capsys.readouterr().err)
    assert (line["logger"], line["level"]) == ("py.warnings", "warning") and "old and odd" in line["event"]
