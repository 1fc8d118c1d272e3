"""Log lines of every process: for people or JSON, one event a line, with ids that come along by themselves.

    log.info("shard", extra={"shard_id": shard_id, "ms": 12.3})      fields: names that no LogRecord has
    structlog.contextvars.bind_contextvars(request_id=...)           on every line of this task and its tasks

Prompts and keys never come here: callers log ids, counts and the names of errors. What a client puts where an id
belongs comes with a path or an error, so whatever looks like a key is cut short all the same (core/log_lines.py).
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final, TextIO
from urllib.parse import unquote

from structlog.contextvars import get_contextvars

from config.settings import Secret, Settings
from workers.core.inbound import BATCH_ID, SHARD_ID
from workers.core.log_lines import EXCEPTION, as_text, cleaned_event
from workers.core.log_lines import as_json as json_line

# What these say of every request, connection or retry tells nothing that our own lines do not; and at `debug` hpack
# says every header with the provider's key in it, pymongo what is written.
_QUIET = {
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "hpack": logging.WARNING,
    "pymongo": logging.WARNING,
    "python_multipart": logging.ERROR,
}
_OF_EVERY_RECORD: Final = frozenset(
    (*vars(logging.LogRecord("", 0, "", 0, "", (), None)), "message", "asctime", "taskName")
)
_TICK_TASK = "chore.tick"  # celery_config.py's; it is not to be loaded for a line of a log
# A shorter "secret" would black out words of every line.
_SHORTEST_HIDDEN = 6
_SHORTEST_HIDDEN_HEADER = 16


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


class NoTicks(logging.Filter):
    """Leaves out what Celery says of each tick, every few seconds and twice; at `debug` all is said."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        data = getattr(record, "data", None)
        is_tick = isinstance(data, dict) and data.get("name") == _TICK_TASK
        return not is_tick or record.levelno > logging.INFO or logging.root.level <= logging.DEBUG


class _Lines:
    """What every line of this process has: fields of the process itself, and secrets that have no form of their own."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.hidden: re.Pattern[str] | None = None
        self._secrets: set[str] = set()

    def hide(self, secrets: Iterable[Secret | None]) -> None:
        """These appear in no line from here on; those hidden before stay hidden."""
        given = {each.reveal() for each in secrets if each is not None}
        self._secrets |= {text for text in given if len(text) >= _SHORTEST_HIDDEN}
        if self._secrets:
            # The longest first, since one may begin with another.
            ordered = sorted(self._secrets, key=len, reverse=True)
            self.hidden = re.compile("|".join(map(re.escape, ordered)))

    def of(self, record: logging.LogRecord) -> dict[str, Any]:
        """All fields together, with nothing that must not be seen."""
        event: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")[:-6]
            + "Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **self.fields,
            **get_contextvars(),
        }
        event |= {name: value for name, value in record.__dict__.items() if name not in _OF_EVERY_RECORD}
        if record.name.startswith(("celery", "py.warnings")):
            _of_celery(event)
        return cleaned_event(event, self.hidden)


_LINES = _Lines()


class _Form(logging.Formatter):
    """A record as its line. structlog's own formatter copies each record twice, which is half of a line's cost."""

    def __init__(self, *, as_json: bool, coloured: bool) -> None:
        super().__init__()
        self._as_json, self._coloured = as_json, coloured

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        if record.exc_info or record.stack_info:
            said = self.formatException(record.exc_info) if record.exc_info else ""
            record.__dict__[EXCEPTION] = "\n".join(filter(None, (said, record.stack_info)))
        event = _LINES.of(record)
        return json_line(event) if self._as_json else as_text(event, coloured=self._coloured)


def set_up_logging(level: str, *, as_json: bool) -> None:
    """Send every log line of this process to stderr in one form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Form(as_json=as_json, coloured=may_colour(sys.stderr)))
    handler.addFilter(SeldomBrokerAway())
    handler.addFilter(NoTicks())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(least)


def log_by(settings: Settings, **fields: str) -> None:
    """Set logging up as the settings say; `fields` are on every line of this process."""
    _LINES.fields.update(fields)
    _LINES.hide(secrets_of(settings))
    set_up_logging(settings.log.level, as_json=settings.log.json)
    logging.captureWarnings(capture=True)


def log_on_by(settings: Settings) -> None:
    """Take over what may change while a process runs: the level, and which keys are hidden."""
    _LINES.hide(secrets_of(settings))
    if any(isinstance(each.formatter, _Form) for each in logging.root.handlers):
        logging.root.setLevel(settings.log.level.upper())


def secrets_of(settings: Settings) -> list[Secret | None]:
    """What the settings hold that nobody may read: keys, passwords (of servers too), values of providers' headers."""
    values = [value for provider in settings.providers for value in provider.headers.values()]
    # A short one is a version or a word, and would black out dates.
    headers = [Secret(value) for value in values if len(value) >= _SHORTEST_HIDDEN_HEADER]
    keys = [settings.api.bootstrap_key, settings.api.key, *(each.api_key for each in settings.providers)]
    servers, web = settings.servers, (settings.flower.password, settings.monitoring.metrics_token)
    urls = (
        servers.redis_url,
        servers.cache_redis_url,
        servers.broker_url,
        servers.mongodb_url,
        settings.webhook.proxy,
    )
    return [*keys, *web, *(password for url in urls if url for password in _passwords_in(url)), *headers]


def _passwords_in(url: str) -> list[Secret]:
    """As it stands in the URL, and as drivers show it."""
    # Up to the last `@`: the pattern that knows no settings ends a password at the first one, or at a slash.
    user, _, found = url.partition("://")[2].rpartition("@")[0].partition(":")
    # One that is the user's name is no secret, and may be a word of every line.
    return [Secret(each) for each in {found, unquote(found)} if each != user]


def may_colour(stream: TextIO) -> bool:
    """Whether a stream is a terminal whose owner wants colours (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _of_celery(event: dict[str, Any]) -> None:
    """Celery, and Python's warnings, write on several lines; that is layout and becomes one line one can read.

    Of what Celery adds about a task only our ids stay: its arguments come from a message, which anybody may have sent.
    """
    data = event.pop("data", None)
    if isinstance(data, dict):
        event |= _ids_in(str(data.get("args")))
    event["event"] = " ".join(line.strip() for line in event["event"].split("\n")).strip()


def _ids_in(arguments: str) -> dict[str, str]:
    """The ids in the one argument of our tasks, as Celery shows it: `('batch_...',)`."""
    word = arguments.strip("(',)")
    if SHARD_ID.fullmatch(word):
        return {"shard_id": word, "batch_id": word.partition(".")[0]}
    return {"batch_id": word} if BATCH_ID.fullmatch(word) else {}
