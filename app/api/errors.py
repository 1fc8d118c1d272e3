"""Every refusal of the API in the SDK's shape, `{"error": {message, type, param, code}}`, with its headers.

Handlers raise `ApiError`; application.py turns it, and whatever else goes wrong, into a reply by `reply_to`.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from workers.core.api_keys import without_secrets
from workers.core.wire import error_body

INVALID_REQUEST = "invalid_request_error"
SERVER_ERROR = "server_error"
# The official SDKs repeat 408, 409, 429 and 5xx twice; this header stops them where repeating cannot help.
NEVER_RETRY = {"x-should-retry": "false"}
RETRY_AFTER_S = 2


class ApiError(Exception):
    """A reply that refuses, with everything its reader needs; a key that was sent in a wrong place is not repeated."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str = INVALID_REQUEST,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        message = without_secrets(message)
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = None if param is None else without_secrets(param)
        self.code = code
        self.kind = kind
        self.headers = dict(headers or {})


def bad_request(message: str, *, param: str | None = None, code: str | None = None) -> ApiError:
    """400: the same request will be refused again."""
    return ApiError(400, message, param=param, code=code)


def missing(param: str) -> ApiError:
    """400: a required parameter is not there."""
    return bad_request(
        f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter"
    )


def no_such_batch(batch_id: str) -> ApiError:
    """404, the same for a batch that never was and for another tenant's."""
    return ApiError(404, f"No batch found with id '{batch_id}'.")


def no_such_file(file_id: str) -> ApiError:
    """404, the same for a file that never was and for another tenant's."""
    return ApiError(404, f"No such File object: {file_id}", param="id")


def conflict(message: str, *, param: str | None = None, code: str | None = None) -> ApiError:
    """409 that no repeat can mend."""
    return ApiError(409, message, param=param, code=code, headers=NEVER_RETRY)


def store_down() -> ApiError:
    """503: the database did not answer; the SDK tries again after the time we name."""
    return ApiError(
        503,
        "The database does not answer at the moment. Nothing was lost; try again.",
        code="store_unavailable",
        kind=SERVER_ERROR,
        headers={"retry-after": str(RETRY_AFTER_S)},
    )


def reply_to(error: ApiError) -> Response:
    """The reply that carries this refusal."""
    body = error_body(error.message, kind=error.kind, param=error.param, code=error.code)
    return Response(body, error.status, error.headers, media_type="application/json")
