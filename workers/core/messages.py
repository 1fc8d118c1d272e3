"""The values that travel through the engine, one frozen dataclass per arrow.

InputLine -> Item -> ShardPlan -> Call -> HttpRequest -> HttpResponse -> Reply -> Result
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from config.catalog import ModelTraits

Source = Literal["call", "cache", "coalesced", "none"]

_ITEM = struct.Struct("<IQII")


@dataclass(frozen=True, slots=True)
class Item:
    """Where one request stands in its input file.

    Attributes:
        line: physical line number, counted from 1.
        offset, length: the line's bytes in the file, without its line end.
        twin: an earlier line that asks the same, or 0: a hint for the order of work, never ownership.
    """

    line: int
    offset: int
    length: int
    twin: int = 0


def pack_items(items: Iterable[Item]) -> bytes:
    """Twenty bytes an item, little-endian: line u32, offset u64, length u32, twin u32."""
    return b"".join(_ITEM.pack(item.line, item.offset, item.length, item.twin) for item in items)


def unpack_items(data: bytes) -> list[Item]:
    """The inverse of `pack_items`."""
    return [Item(*fields) for fields in _ITEM.iter_unpack(data)]


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """Items of one batch for one provider, cut so that one worker slot can hold them."""

    seq: int
    provider: str
    items: tuple[Item, ...]
    est_tokens: int
    bytes: int


@dataclass(frozen=True, slots=True)
class InputLine:
    """A checked line of an input file."""

    custom_id: str
    url: str
    model: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class LineProblem:
    """What is wrong with a line, in the Batch API's words (WIRE: validation errors)."""

    code: str
    message: str
    param: str | None
    line: int | None
    custom_id: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One request to one provider, in the OpenAI shape, before translation.

    Attributes:
        body: the endpoint's own parameters; our own fields (`task_type`, ...) are taken out, defaults are in.
        provider_options: parts of the provider's own request, laid over the translated one as they are.
        traits: what is known of the model.
    """

    endpoint: str
    model: str
    body: Mapping[str, Any]
    provider_options: Mapping[str, Any] = field(default_factory=dict)
    traits: ModelTraits = field(default_factory=ModelTraits)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What goes over the wire; `path` is appended to the provider's base URL."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """What came back; header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider counted them.

    Attributes:
        input_tokens: all of the input; `cached_tokens` of it were read from the provider's prompt cache and
            `cache_write_tokens` written to it.
        output_tokens: all of the output; `reasoning_tokens` of it were thoughts.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0

    @property
    def counts(self) -> tuple[int, int, int, int, int]:
        """The five numbers in their order; `dataclasses.astuple` takes twenty times as long."""
        return (
            self.input_tokens,
            self.output_tokens,
            self.cached_tokens,
            self.reasoning_tokens,
            self.cache_write_tokens,
        )

    def __add__(self, other: Usage) -> Usage:
        """Both together."""
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
        )


NO_USAGE = Usage()


@dataclass(frozen=True, slots=True)
class Reply:
    """A usable answer: `body` is a JSON object in the OpenAI shape.

    Attributes:
        warnings: what of the request the provider does not know and never saw, a sentence each.
        tier: the provider's service tier where it names one (`flex`, `batch`, ...); it decides the price.
    """

    body: bytes
    usage: Usage
    model: str
    request_id: str | None = None
    warnings: tuple[str, ...] = ()
    tier: str = ""


@dataclass(frozen=True, slots=True)
class ItemError:
    """A final failure without an HTTP answer."""

    code: str
    message: str


NOT_WAITED: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of an item that failed, or that was not made where it stood.

    Attributes:
        at: when it ended, Unix seconds.
        code: the error's, as in the error file; `status` the HTTP status where there was one.
        then: what followed: `retry`, `hand_over` (another provider's turn) or `give_up`.
        wait_s: the wait before the next try, in seconds.
        excess: the next try may repeat a call that happened.
    """

    at: float
    provider: str
    code: str
    status: int | None
    then: Literal["retry", "hand_over", "give_up"]
    wait_s: float = 0.0
    excess: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """The one recorded answer or final error of an item.

    Attributes:
        status_code: the provider's HTTP status; None when there was no HTTP answer, then `error` says why.
        body: JSON bytes: the answer, or the provider's error object.
        source: where the answer came from; `none` for items that never ran.
        calls: HTTP requests made for it; `excess` of them repeated a call of unknown outcome.
        cost_usd: None when the price is unknown, never 0 for it.
        saved_usd: what an answer that was not called for (cached, coalesced) would have cost, None when nobody knows;
            0 for any other.
        asks_again: answers before this one that did not match the schema; usage and cost hold theirs, too.
        warnings: what the request lost on its way to the provider, a sentence each.
        attempts: its failed tries, oldest first; where there were very many, the first and the latest.
        waited_s: how long it rested, by reason (`limit`, `paused`, `concurrency`, `breaker`, `retry`, `budget`).
    """

    line: int
    custom_id: str
    source: Source
    status_code: int | None = None
    body: bytes | None = None
    error: ItemError | None = None
    request_id: str | None = None
    model: str = ""
    usage: Usage = NO_USAGE
    calls: int = 0
    excess: int = 0
    asks_again: int = 0
    cost_usd: float | None = 0.0
    saved_usd: float | None = 0.0
    latency_ms: float = 0.0
    warnings: tuple[str, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    waited_s: Mapping[str, float] = field(default_factory=lambda: NOT_WAITED, hash=False)

    @property
    def ok(self) -> bool:
        """Whether the item belongs in the output file."""
        return self.status_code is not None and self.status_code < 400 and self.error is None

    @property
    def never_ran(self) -> bool:
        """Whether a closing row stands here (cancelled, expired): not counted as failed."""
        return self.source == "none" and self.error is not None and self.error.code in NEVER_RAN_CODES


NEVER_RAN_CODES = ("batch_cancelled", "batch_expired")
