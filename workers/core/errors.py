"""Every error Batchwright raises on purpose, sorted by what the caller should do, not by who raised it.

BatchwrightError
  UserError            show it; the user can mend the input or the setting
  SystemFault          something outside failed
    MissingBytes       a stored file is not whole
    ProviderError      the provider gave no usable answer; `action` says what to do:
      retry            Overloaded, UnusableReply: ask again after a backoff
      wait             RateLimited: ask again when the provider's window opens
      reroute          QuotaExhausted, KeyRefused, ModelUnknown: this provider will not, another one may
      refuse           RequestRefused, ContextTooLong, ContentBlocked, Untranslatable: the request is at fault
      bug              InternalFault: we are
    TransportError     no HTTP answer at all; `bytes_sent` says whether the call may have happened
    StoreUnavailable   Redis or MongoDB did not answer; wait and try again
"""

from __future__ import annotations

from typing import ClassVar, Literal

from workers.core.messages import Usage

Action = Literal["retry", "wait", "reroute", "refuse", "bug"]


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
    """The provider gave no usable answer; `action` says what to do about it.

    `status`, `provider_code`, `body` and `request_id` are the provider's own words, kept for the error file.

    Attributes:
        bytes_sent: False when nothing has left this process: nobody was asked and nothing can be owed.
        usage: what a refused request was charged all the same, where the provider says so.
    """

    action: ClassVar[Action] = "refuse"
    code: ClassVar[str] = "provider_error"
    bytes_sent: ClassVar[bool] = True

    def __init__(
        self,
        message: str,
        *,
        provider: str,
        status: int | None = None,
        provider_code: str | None = None,
        body: bytes | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
        usage: Usage | None = None,
    ) -> None:
        super().__init__(f"{provider}: {message}")
        self.message = message
        self.provider = provider
        self.status = status
        self.provider_code = provider_code
        self.body = body
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.usage = usage

    @property
    def retryable(self) -> bool:
        """Whether the same request to the same provider may pass later."""
        return self.action in ("retry", "wait")


class Overloaded(ProviderError):
    """408 or 5xx: the provider has trouble of its own; the same request may pass later."""

    action = "retry"
    code = "provider_unavailable"


class UnusableReply(ProviderError):
    """A success status around something that is no answer (truncated, HTML, wrong types); one more try may help."""

    action = "retry"
    code = "unusable_reply"


class RateLimited(ProviderError):
    """429: after `retry_after_s` seconds the same request may pass."""

    action = "wait"
    code = "rate_limited"


class QuotaExhausted(ProviderError):
    """The account has no money or quota left: waiting does not help, another provider may."""

    action = "reroute"
    code = "provider_quota_exhausted"


class KeyRefused(ProviderError):
    """401 or 403: the key of this provider is missing, wrong or may not do this."""

    action = "reroute"
    code = "provider_key_refused"


class ModelUnknown(ProviderError):
    """The provider does not know this model, or not for this key."""

    action = "reroute"
    code = "model_not_found"


class RequestRefused(ProviderError):
    """4xx: the same bytes will be refused again."""

    code = "request_refused"


class ContextTooLong(RequestRefused):
    """The request is longer than the model can read."""

    code = "context_length_exceeded"


class ContentBlocked(RequestRefused):
    """A safety filter kept the prompt or the answer back."""

    code = "content_blocked"


class Untranslatable(RequestRefused):
    """The provider's API cannot say what the request asks for; `param` is the path of the part that it lacks."""

    code = "not_offered_by_provider"
    bytes_sent = False

    def __init__(self, message: str, *, provider: str, param: str) -> None:
        super().__init__(f"{param}: {message}", provider=provider)
        self.param = param


class InternalFault(ProviderError):
    """Our own bug met while handling a call; the log has the traceback."""

    action = "bug"
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
