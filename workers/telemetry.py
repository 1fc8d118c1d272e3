"""Log lines of every process: plain or JSON, one event a line, control characters escaped.

Prompts and keys never come here: callers log ids, counts and the names of errors. What a client puts where an id
belongs comes with a path or an error, so whatever looks like a key is cut short all the same.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

import structlog
from structlog.typing import EventDict, Processor

from workers.core.api_keys import without_secrets

# What these say of every request, connection or retry tells nothing that our own lines do not; and at `debug` hpack
# says every header with the provider's key in it, pymongo what is written.
_QUIET = {
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "hpack": logging.WARNING,
    "pymongo": logging.WARNING,
    "python_multipart": logging.ERROR,
}
# C0, DEL and C1, which begin what drives a terminal; a traceback keeps its lines and tabs.
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
_CONTROL_IN_TRACEBACKS = {code: shown for code, shown in _CONTROL.items() if code not in (9, 10)}


# What Celery's consumer says once a second while the broker is away.
_BROKER_AWAY = ("celery.worker.consumer.consumer", "consumer: Cannot connect to ")
_BROKER_AWAY_EVERY_S = 30.0


class SeldomBrokerAway(logging.Filter):
    """Lets the line that the broker is away through at first and then every 30 s; all others always."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock_s = clock_s
        self._next_s = float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        logger, beginning = _BROKER_AWAY
        if record.name != logger or not str(record.msg).startswith(beginning):
            return True
        now_s = self._clock_s()
        if now_s < self._next_s:
            return False
        self._next_s = now_s + _BROKER_AWAY_EVERY_S
        return True


def set_up_logging(level: str, *, as_json: bool) -> None:
    """Send every log line of this process to stderr in one form."""
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.format_exc_info,
    ]
    last: list[Processor] = [structlog.processors.JSONRenderer()] if as_json else [_escaped, _line]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _joined, _kept_secret, *last],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    handler.addFilter(SeldomBrokerAway())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(least)


def _joined(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Celery writes some messages on several lines; that is layout and becomes one line that a person can read."""
    if str(event.get("logger")).startswith("celery"):
        event["event"] = " ".join(line.strip() for line in str(event["event"]).split("\n")).strip()
    return event


def _kept_secret(_logger: object, _method: str, event: EventDict) -> EventDict:
    return {
        name: without_secrets(value) if isinstance(value, str) else value for name, value in event.items()
    }


def _escaped(_logger: object, _method: str, event: EventDict) -> EventDict:
    """A prompt's colours or a forged line end must not reach a terminal; tracebacks keep their lines."""
    return {
        name: value.translate(_CONTROL_IN_TRACEBACKS if name == "exception" else _CONTROL)
        if isinstance(value, str)
        else value
        for name, value in event.items()
    }


def _line(_logger: object, _method: str, event: EventDict) -> str:
    text = f"{event.pop('timestamp')} {event.pop('level').upper()} {event.pop('logger')} {event.pop('event')}"
    exception = event.pop("exception", None)
    return text if exception is None else f"{text}\n{exception}"
