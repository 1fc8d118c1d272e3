"""The seam between the simulator and a provider's API: what a dialect is asked, and in which values.

simulation.py decides one call in this order and asks its dialect at each step; the dialects stand in
dialects.py, and the first that owns a request has it:

    owns, is_call     whose request is it; is it charged and logged, or a free page (a model list)?
    check_key         where does this API carry its key, and in which words does it refuse another?
    body_of           bytes -> an object and the canonical bytes that its prompt hash is made of
    work              object -> `Work`: the request checked, answered and priced, but not yet written out
    limit_headers, over_limit    the provider's own limits: in its header names, in its words
    injected          the error that a fault asks for, in its words
    Work.reply        `Stamp` -> `Reply`: bytes or events with their content type
    error_body        `ApiError` -> the provider's error shape
    page              a request that is no call

A chat dialect reads its body into `chat.ChatRequest` - messages, tools and images in OpenAI's shape, a content
of one text as a plain string, so that one prompt is answered alike in every dialect and `answers.answer_text`
foretells it - and lets `chat.answer_chat` answer. A dialect keeps nothing between calls: what lasts is in `Terms`.
It raises ApiError for whatever the provider would refuse, and nothing else for any bytes.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from app.simulator.errors import ApiError
from app.simulator.limits import Headers, Meter
from app.simulator.loading import Load
from app.simulator.promptcache import PromptCache

JSON = "application/json"
SSE = "text/event-stream; charset=utf-8"
NDJSON = "application/x-ndjson"
_ALWAYS = Load()


class HeaderLookup(Protocol):
    """Request headers by lower-case name; a dict will do."""

    def get(self, key: str, /) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Inbound:
    """One request as it arrived. `path` is percent-decoded and without `query`."""

    method: str
    path: str
    body: bytes
    headers: HeaderLookup
    query: str = ""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the simulator is set to, what a fault asks of the answer, and what lasts between calls."""

    seed: int
    all_models: bool
    embedding_dimensions: int
    cache: PromptCache
    huge_bytes: int = 0  # answers in text are at least this large
    tool_calls: int | None = (
        None  # as many calls, where the request brings tools; None: by the rule of chat.py
    )
    safety: bool = False  # the prompt is judged unsafe; only Gemini has an answer that says so
    pulled: set[str] = field(default_factory=set)  # models fetched since the start (Ollama)


@dataclass(frozen=True, slots=True)
class Stamp:
    """What makes one reply differ from another with the same answer."""

    id: str  # hexadecimal, without a provider's prefix
    created: int  # Unix seconds


@dataclass(frozen=True, slots=True)
class Reply:
    """What is sent: one body, or events one by one."""

    body: bytes = b""
    events: Iterator[bytes] | None = None
    content_type: str = JSON


@dataclass(frozen=True, slots=True)
class Work:
    """A checked request whose price is known; `reply` writes the answer out and is called at most once.

    `prompt_tokens` is all input, of which `cached_tokens` were read from the prompt cache and
    `cache_write_tokens` written to it. `load`: how its model must be loaded, where models take time to load.
    """

    model: str
    prompt_tokens: int
    completion_tokens: int
    reply: Callable[[Stamp], Reply]
    stream: bool = False
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    load: Load = _ALWAYS


@dataclass(frozen=True, slots=True)
class LimitHit:
    """A call that one of the simulator's limits refuses. `wait_s` is infinite for one that can never pass."""

    meter: Meter
    model: str
    cost: int  # what the call would have taken from the meter
    wait_s: float
    now: float  # the clock of the meter


class Dialect(Protocol):
    """One provider's API. Pure: no clock, no chance, no state."""

    name: str  # what the call log says under `provider`
    took_header: str  # tells the milliseconds a call took; empty where the provider has none

    def owns(self, call: Inbound) -> bool:
        """Whether this request, right or wrong, is for this API to answer."""
        ...

    def is_call(self, call: Inbound) -> bool:
        """Whether it is charged, limited, met by faults and logged; else `page` answers it."""
        ...

    def check_key(self, call: Inbound, wanted: str) -> None:
        """Raises: ApiError 401 or 403 without the key that the simulator wants (compare with `same_key`)."""
        ...

    def body_of(self, call: Inbound) -> tuple[dict[str, Any] | None, bytes]:
        """The body as an object, None for what is none, and the bytes to hash (`json_object` for JSON).

        A model named by the path should be in the object as `model`: log and hash tell calls apart by it.
        """
        ...

    def work(self, call: Inbound, body: Mapping[str, Any], terms: Terms) -> Work:
        """Check, answer and price a call.

        Raises: ApiError for whatever the provider would refuse.
        """
        ...

    def page(self, call: Inbound, terms: Terms) -> Reply:
        """Answer what is no call.

        Raises: ApiError, 404 for a path and 405 for a method that the API does not know.
        """
        ...

    def headers(self, request_id: str) -> Headers:
        """Headers of every answer, errors too, without content-type."""
        ...

    def limit_headers(self, meters: Sequence[Meter], now: float, unix_s: int) -> Headers:
        """The state of the limits after a call, in the provider's header names; `now` is their clock."""
        ...

    def over_limit(self, hit: LimitHit) -> ApiError:
        """The 429 of one of the simulator's own limits, saying when to come back as the provider says it."""
        ...

    def injected(self, status: int, code: str | None) -> ApiError:
        """The provider's usual error of that status; a fault's waiting headers are added to it."""
        ...

    def not_json(self) -> ApiError:
        """The refusal of a body that `body_of` could not read."""
        ...

    def error_body(self, error: ApiError, request_id: str) -> bytes:
        """The JSON of a refusal. `error.retry_after_s` is for those who say it in the body."""
        ...


def json_object(body: bytes) -> tuple[dict[str, Any] | None, bytes]:
    """The body and its canonical form; None and the bytes as they are for what is no JSON object."""
    try:
        read = orjson.loads(body)
        canonical = orjson.dumps(read, option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):  # the second for nesting no one can write back
        return None, body
    return (read, canonical) if isinstance(read, dict) else (None, body)


def same_key(given: str, wanted: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), wanted.encode())


def bearer_key(call: Inbound) -> str:
    """The key of `Authorization: Bearer`, empty without one."""
    scheme, _, key = (call.headers.get("authorization") or "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""
