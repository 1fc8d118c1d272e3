"""What a provider refuses, with all that its error body may need; in OpenAI's words unless a dialect has its own.

The readers raise `ApiError`, simulation.py sends it, and the dialect puts it into its own shape.
"""

from __future__ import annotations

from collections.abc import Sequence

INVALID_REQUEST = "invalid_request_error"


class ApiError(Exception):
    """One refusal: HTTP status, message, and headers that go with it. A dialect says the rest as far as its
    own shape has it: `kind` (OpenAI's type), `param`, `code`, and `retry_after_s`, when to come back."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = INVALID_REQUEST,
        param: str | None = None,
        code: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param
        self.code = code
        self.headers = tuple(headers)
        self.retry_after_s = retry_after_s


def not_json() -> ApiError:
    """The body is not JSON, or not an object."""
    return ApiError(
        400,
        "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your "
        "HTTP library correctly. The API expects a JSON payload, but what was sent was not valid JSON.)",
    )


def missing_key() -> ApiError:
    """No Authorization header where the simulator wants a key."""
    return ApiError(
        401,
        "You didn't provide an API key. You need to provide your API key in an Authorization header using "
        "Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
        headers=(("www-authenticate", 'Bearer realm="simulator"'),),
    )


def wrong_key(key: str) -> ApiError:
    """A key that is not ours, shown masked as the provider does."""
    shown = f"{key[:4]}{'*' * 8}{key[-4:]}" if len(key) > 12 else "*" * 8
    return ApiError(401, f"Incorrect API key provided: {shown}.", code="invalid_api_key")


def unknown_model(model: str) -> ApiError:
    """A model name nobody serves."""
    return ApiError(
        404, f"The model `{model}` does not exist or you do not have access to it.", code="model_not_found"
    )


def injected(status: int, code: str | None) -> ApiError:
    """The error a fault asks for: the provider's usual words for that status."""
    if status == 429:
        message = "Rate limit reached. Please try again later."
        if code == "insufficient_quota":
            message = "You exceeded your current quota, please check your plan and billing details."
        kind = code if code == "insufficient_quota" else "requests"
        return ApiError(429, message, kind=kind, code=code or "rate_limit_exceeded")
    if status >= 500:
        overloaded = status in (503, 529)
        message = (
            "The engine is currently overloaded, please try again later."
            if overloaded
            else "The server had an error while processing your request. Sorry about that!"
        )
        return ApiError(status, message, kind="server_error", code=code)
    return ApiError(status, f"The simulator was asked to refuse with {status}.", code=code)
