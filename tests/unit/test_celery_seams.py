"""What we put in the place of Celery's, kombu's and redis-py's own must still have that place after an update of them.

An override that nobody calls any more, and a setting that nobody reads, would be silent.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import redis
from celery import Celery
from celery.app.defaults import NAMESPACES, flatten
from celery.beat import Scheduler as CeleryScheduler
from celery.worker.consumer import Consumer as CeleryConsumer
from celery.worker.request import Request as CeleryRequest
from kombu import Connection
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis

from workers import inbound
from workers.beat import Scheduler as OurScheduler
from workers.celery_config import TICK_TASK, celery_settings
from workers.consumer import ASK_AGAIN_S
from workers.consumer import Consumer as QuickConsumer
from workers.core.errors import StoreUnavailable

pytestmark = pytest.mark.fast
OVERRIDES = [
    *((QuickConsumer, CeleryConsumer, name) for name in ("connect", "ensure_connected")),
    *(
        (inbound.Consumer, CeleryConsumer, name)
        for name in ("create_task_handler", "add_task_queue", "cancel_task_queue", "on_decode_error")
    ),
    *(
        (inbound.Request, CeleryRequest, name)
        for name in ("terminate", "cancel", "on_accepted", "send_event")
    ),
    *((inbound.Channel, kombu_redis.Channel, name) for name in ("_get_client", "_handle_message")),
    *(
        (inbound.SentinelChannel, kombu_redis.SentinelChannel, name)
        for name in ("_get_client", "_handle_message")
    ),
    (inbound.GuardedClient, redis.Redis, "parse_response"),
    (OurScheduler, CeleryScheduler, "apply_entry"),
]


@pytest.mark.parametrize(
    ("ours", "theirs", "name"), OVERRIDES, ids=lambda each: getattr(each, "__name__", each)
)
def test_what_we_override_is_there_and_takes_what_ours_takes(ours: Any, theirs: Any, name: str) -> None:
    own, other = (inspect.signature(getattr(one, name)).parameters for one in (ours, theirs))
    assert getattr(ours, name) is not getattr(theirs, name)
    taken = [each for each in other.values() if each.kind is each.POSITIONAL_OR_KEYWORD]
    inspect.signature(getattr(ours, name)).bind(*(Mock() for _ in taken))
    required = [
        each for each in own.values() if each.default is each.empty and each.kind is not each.VAR_KEYWORD
    ]
    inspect.signature(getattr(theirs, name)).bind(
        *(Mock() for each in required if each.kind is not each.VAR_POSITIONAL)
    )


def test_the_one_step_that_we_leave_out_is_still_celerys() -> None:
    left_out = set(CeleryConsumer.Blueprint.default_steps) - set(QuickConsumer.Blueprint.default_steps)
    assert left_out == {"celery.worker.consumer.delayed_delivery:DelayedDelivery"}


def test_a_broker_that_is_away_is_asked_every_second_and_for_ever() -> None:
    consumer: Any = object.__new__(QuickConsumer)
    consumer.app, consumer.first_connection_attempt = Mock(), True
    consumer.app.conf = Mock(**celery_settings("redis://", ["sim"]))
    connection: Any = Mock()
    asked = connection.ensure_connection
    consumer.ensure_connected(connection)
    call = asked.call_args
    # What `ensure_connection` hands everything to.
    given = inspect.signature(Connection._ensure_connection).bind(None, *call.args, **call.kwargs).arguments
    named = ("interval_start", "interval_step", "interval_max", "max_retries")
    assert [given.get(name) for name in named] == [ASK_AGAIN_S, 0.0, ASK_AGAIN_S, None]


@pytest.mark.parametrize("url", ["redis://", "rediss://", "amqp://", "amqps://"])
def test_every_setting_of_ours_is_one_that_celery_reads(url: str) -> None:
    settings: Any = flatten(NAMESPACES)
    known = set(dict(settings))
    assert set(celery_settings(url, ["sim"])) - known == set()
    assert "worker_consumer" in known


def test_every_option_of_the_redis_transport_is_one_that_kombu_reads() -> None:
    options = celery_settings("redis://", ())["broker_transport_options"]
    assert set(options) <= {*kombu_redis.Channel.from_transport_options}


def test_every_name_of_kombus_redis_transports_is_guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = {name for name, where in TRANSPORT_ALIASES.items() if "transport.redis:" in where}
    assert theirs <= {"redis", "rediss", "sentinel"}
    with monkeypatch.context() as patch:
        patch.setattr("workers.inbound.TRANSPORT_ALIASES", own := dict(TRANSPORT_ALIASES))
        patch.setattr("workers.inbound.compression.register", Mock())
        inbound.guard_broker()
    assert not {name for name, where in own.items() if "transport.redis:" in where}


def test_beat_sends_a_tick_every_five_seconds_and_says_in_a_file_that_it_could(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ready = tmp_path / "beat.ready"
    monkeypatch.setenv("BATCHWRIGHT_READY_FILE", str(ready))
    app = Celery("test", set_as_current=False)
    app.conf.update(celery_settings("memory://", []))
    scheduler = OurScheduler(app=app)
    scheduler._queue = Mock()
    scheduler._queue.publish_tick.side_effect = StoreUnavailable("away")
    assert scheduler.tick() == 0 and scheduler._queue.publish_tick.call_count == 1, "the first at once"
    assert not ready.exists() and 4 < scheduler.tick() <= 5
    scheduler._queue.publish_tick.side_effect = None
    scheduler.apply_entry(next(iter(scheduler.schedule.values())))
    assert ready.exists()
    assert [entry.task for entry in scheduler.schedule.values()] == [TICK_TASK], "Celery adds none of its own"
