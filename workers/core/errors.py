"""Every error Batchwright raises on purpose, sorted by what the caller should do, not by who raised it.

BatchwrightError
  UserError            show it; the user can mend the input or the setting
  SystemFault          something outside failed
    MissingBytes       a stored file is not whole
    ProviderError      the provider gave no usable answer; `retryable` says whether asking again can help
    TransportError     no HTTP answer at all; `bytes_sent` says whether the call may have happened
    StoreUnavailable   Redis or MongoDB did not answer; wait and try again
"""

from __future__ import annotations

from typing import ClassVar


class BatchwrightError(Exception):
    """The root: anything raised here on purpose."""


class UserError(BatchwrightError):
    """One line that says what is wrong and where; `hint` says what to do next."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class SystemFault(BatchwrightError):
    """Something outside of us failed."""


class StoreUnavailable(SystemFault):
    """Redis or MongoDB did not answer in time; nothing was decided, so trying again is safe."""


class MissingBytes(SystemFault, LookupError):
    """Stored bytes are not all there."""


class ProviderError(SystemFault):
    """The provider gave no usable answer; `retryable` says whether asking again can help.

    `status`, `body` and `request_id` are the provider's own words, kept for the error file.
    """

    retryable: ClassVar[bool] = False
    code: ClassVar[str] = "provider_error"

    def __init__(
        self,
        message: str,
        *,
        provider: str,
        status: int | None = None,
        body: bytes | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{provider}: {message}")
        self.message = message
        self.provider = provider
        self.status = status
        self.body = body
        self.request_id = request_id
        self.retry_after_s = retry_after_s


class RateLimited(ProviderError):
    """429: after `retry_after_s` seconds the same request may pass."""

    retryable = True
    code = "rate_limited"


class Overloaded(ProviderError):
    """408 or 5xx: the provider has trouble of its own; the same request may pass later."""

    retryable = True
    code = "provider_unavailable"


class UnusableReply(ProviderError):
    """A success status around something that is no answer (truncated, HTML, wrong types); one more try may help."""

    retryable = True
    code = "unusable_reply"


class RequestRefused(ProviderError):
    """4xx: the same bytes will be refused again."""

    code = "request_refused"


class KeyRefused(RequestRefused):
    """401 or 403: the key of this provider is missing, wrong or may not do this."""

    code = "provider_key_refused"


class InternalFault(ProviderError):
    """Our own bug met while handling a call; the log has the traceback."""

    code = "internal_error"


class TransportError(SystemFault):
    """No HTTP answer. `bytes_sent` False: the call cannot have happened and repeating it is free."""

    code: ClassVar[str] = "connection_failed"

    def __init__(self, message: str, *, bytes_sent: bool) -> None:
        super().__init__(message)
        self.message = message
        self.bytes_sent = bytes_sent


class CallTimeout(TransportError):
    """The provider took longer than the request's deadline; whether it did the work is unknown."""

    code = "timeout"


class BodyTooLarge(TransportError):
    """The provider's body passed the bound; asking again would bring the same flood."""

    code = "body_too_large"
