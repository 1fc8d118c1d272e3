"""What every provider adapter offers, and the translations that most of them share.

An adapter is four translations and no I/O: bytes in, bytes out. Keys and models come as arguments.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import lru_cache
from types import TracebackType
from typing import Any, Protocol

import orjson

from workers.core.errors import (
    ContextTooLong,
    KeyRefused,
    Overloaded,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    RequestRefused,
    Untranslatable,
    UnusableReply,
)
from workers.core.messages import Call, HttpRequest, HttpResponse, Reply

_RETRIED_STATUS = (408, 409, 425)
_READING_ERRORS = (
    ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, struct.error,
)  # fmt: skip
_MAX_MESSAGE_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Built:
    """A request ready to go, and what of the call the provider will never see: a sentence each."""

    request: HttpRequest
    warnings: tuple[str, ...] = ()


class StreamReader(Protocol):
    """Reads one streamed answer. Not reusable."""

    def feed(self, data: bytes) -> list[bytes]:
        """The OpenAI-shaped chunks (JSON objects) that `data` completes. Raises ProviderError."""
        ...

    def finish(self) -> Reply:
        """The whole answer once the stream has ended. Raises UnusableReply for one that was cut short."""
        ...


class Adapter(Protocol):
    """Translate between our `Call` and one provider's HTTP. Every method is pure and changes no argument."""

    name: str

    def build_request(self, call: Call, api_key: str | None, *, stream: bool = False) -> Built:
        """The request as the provider wants it. Raises Untranslatable for what its API cannot say."""
        ...

    def parse_response(self, call: Call, response: HttpResponse) -> Reply:
        """Read a success (status below 400). Raises UnusableReply for what is no answer, ContentBlocked."""
        ...

    def parse_stream(self, call: Call, headers: Mapping[str, str]) -> StreamReader:
        """Read a streamed success; `headers` are the response's."""
        ...

    def parse_error(self, response: HttpResponse) -> ProviderError:
        """Read a failure; any bytes give a ProviderError."""
        ...


class unusable_reply:  # noqa: N801  # used like contextlib.suppress, and without a generator's microsecond
    """Whatever reading an answer raises becomes UnusableReply: a provider's bytes are never our bug."""

    __slots__ = ("_provider", "_response")

    def __init__(self, provider: str, response: HttpResponse) -> None:
        self._provider = provider
        self._response = response

    def __enter__(self) -> None:
        """Nothing is held."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, _READING_ERRORS):
            status, headers = self._response.status, self._response.headers
            message = f"status {status} with a body that is no answer ({type(error).__name__}: {error})"
            raise UnusableReply(message, provider=self._provider, request_id=request_id(headers)) from error


def error_from_status(
    provider: str,
    message: str,
    response: HttpResponse,
    body: bytes,
    *,
    code: str | None = None,
    kind: type[ProviderError] | None = None,
) -> ProviderError:
    """Sort a failing status by what to do next; `kind` is what the provider's own code says, where it does."""
    return (kind or kind_of_status(response.status))(
        message[:_MAX_MESSAGE_CHARACTERS],
        provider=provider,
        status=response.status,
        provider_code=code,
        body=body,
        request_id=request_id(response.headers),
        retry_after_s=retry_after_s(response.headers, now_s=date_s(response.headers)),
    )


def kind_of_status(status: int) -> type[ProviderError]:
    """What a status alone says."""
    if status == 429:
        return RateLimited
    if status in _RETRIED_STATUS or (status >= 500 and status != 501):
        return Overloaded
    if status in (401, 403):
        return KeyRefused
    if status == 402:
        return QuotaExhausted
    return ContextTooLong if status == 413 else RequestRefused


def laid_over(body: dict[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """`body` with `options` over it: objects are merged at every depth, all else is replaced, null removes (RFC 7396).

    An array is replaced as a whole, with whatever nulls are in it. Neither argument is changed.
    """
    merged = dict(body)
    for name, value in options.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, Mapping):
            below = merged.get(name)
            merged[name] = laid_over(below if isinstance(below, dict) else {}, value)
        else:
            merged[name] = value
    return merged


def json_of(provider: str, body: Mapping[str, Any]) -> bytes:
    """The body's JSON. Raises Untranslatable for what has none: too deep, or no value of JSON at all."""
    try:
        return orjson.dumps(body)
    except TypeError as error:  # arguments of a call come as text, whose depth nobody has looked at before
        raise Untranslatable(
            f"it cannot be written as JSON ({error})", provider=provider, param="body"
        ) from None


def lost(provider: str, names: Iterable[str]) -> tuple[str, ...]:
    """The warnings for parameters that are left out because the provider has nothing like them."""
    return tuple(f"{name}: {provider} has no such parameter; it was left out" for name in names)


def request_id(headers: Mapping[str, str]) -> str | None:
    """The provider's own name for this call."""
    return headers.get("x-request-id") or headers.get("request-id")


def retry_after_s(headers: Mapping[str, str], *, now_s: float | None = None) -> float | None:
    """How long the provider asks to wait; None for no word, garbage or a time in the past.

    `retry-after-ms` before `Retry-After` (RFC 9110 10.2.3: seconds or an HTTP date; a date needs `now_s`).
    """
    if (ms := _positive(headers.get("retry-after-ms"))) is not None:
        return ms / 1000.0
    value = headers.get("retry-after")
    if (seconds := _positive(value)) is not None:
        return seconds
    if value and now_s is not None:
        until_s = _unix_s(value)
        return until_s - now_s if until_s is not None and until_s > now_s else None
    return None


def date_s(headers: Mapping[str, str]) -> float | None:
    """The provider's own clock (RFC 9110 6.6.1), by which a `Retry-After` date is meant."""
    date = headers.get("date")
    return _unix_s(date) if date else None


@lru_cache(maxsize=256)  # it changes once a second, and reading it takes longer than reading a short answer
def _unix_s(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _positive(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None
