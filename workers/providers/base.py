"""What every provider adapter offers, and the translations that most of them share.

An adapter is four translations and no I/O: bytes in, bytes out. Keys and models come as arguments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Protocol

from workers.core.errors import (
    KeyRefused,
    Overloaded,
    ProviderError,
    RateLimited,
    RequestRefused,
    UnusableReply,
)
from workers.core.messages import Call, HttpRequest, HttpResponse, Reply

_RETRIED_STATUS = (408, 409, 425, 429)


class Adapter(Protocol):
    """Translate between our `Call` and one provider's HTTP."""

    name: str

    def build_request(self, call: Call, api_key: str | None) -> HttpRequest:
        """The request as the provider wants it; `call` is never changed."""
        ...

    def parse_response(self, response: HttpResponse) -> Reply:
        """Read a success (status below 400). Raises UnusableReply for what is no answer."""
        ...

    def parse_error(self, response: HttpResponse) -> ProviderError:
        """Read a failure; any bytes give a ProviderError."""
        ...


@contextmanager
def unusable_reply(provider: str, response: HttpResponse) -> Iterator[None]:
    """Whatever reading an answer raises becomes UnusableReply: a provider's bytes are never our bug."""
    try:
        yield
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        message = f"status {response.status} with a body that is no answer ({type(error).__name__}: {error})"
        raise UnusableReply(message, provider=provider, request_id=request_id(response.headers)) from error


def error_from_status(provider: str, message: str, response: HttpResponse, body: bytes) -> ProviderError:
    """Sort a failing status by what to do next."""
    kind: type[ProviderError] = RequestRefused
    if response.status == 429:
        kind = RateLimited
    elif response.status in _RETRIED_STATUS or response.status >= 500:
        kind = Overloaded
    elif response.status in (401, 403):
        kind = KeyRefused
    return kind(
        message,
        provider=provider,
        status=response.status,
        body=body,
        request_id=request_id(response.headers),
        retry_after_s=retry_after_s(response.headers, now_s=_date_s(response.headers)),
    )


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
        try:
            wait_s = parsedate_to_datetime(value).timestamp() - now_s
        except (ValueError, TypeError, OverflowError):
            return None
        return wait_s if wait_s > 0 else None
    return None


def _date_s(headers: Mapping[str, str]) -> float | None:
    """The provider's own clock (RFC 9110 6.6.1), by which a `Retry-After` date is meant."""
    try:
        return parsedate_to_datetime(headers.get("date", "")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _positive(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None
