"""Names of things: object ids, derived ids, and the fingerprints that say two requests are the same.

Ids that come from chance sort by creation time; ids that come from other ids are derived, so that a repeated
step writes the same document instead of a second one.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from typing import Any

import blake3
import orjson

from workers.core.api_keys import with_checksum
from workers.core.messages import Call

LINE_DIGITS = 9
EMBEDDINGS_ENDPOINT = "/v1/embeddings"
_CANONICAL = orjson.OPT_SORT_KEYS


def new_id(prefix: str, now_ms: int) -> str:
    """`prefix` + 12 hex digits of `now_ms` + 20 random ones: ids of one kind sort by creation time."""
    return f"{prefix}{now_ms:012x}{secrets.token_hex(10)}"


def new_batch_id(now_ms: int) -> str:
    """A batch id in the Batch API's form."""
    return new_id("batch_", now_ms)


def new_file_id(now_ms: int) -> str:
    """A file id in the Files API's form."""
    return new_id("file-", now_ms)


def view_file_id(batch_id: str, which: str) -> str:
    """The id of a batch's output or error file: derived, since the file is a view over its results."""
    return f"file-{batch_id.removeprefix('batch_')}-{which}"


def shard_id(batch_id: str, seq: int) -> str:
    """The id of the batch's `seq`-th shard; planning twice writes the same shards."""
    return f"{batch_id}.{seq:06d}"


def result_id(batch_id: str, line: int) -> str:
    """The `_id` of an item's one result; ids of a batch sort in input order."""
    return f"{batch_id}:{line:0{LINE_DIGITS}d}"


def line_of(result_id_: str) -> int:
    """The line number inside a result id."""
    return int(result_id_[-LINE_DIGITS:])


def batch_of(result_id_: str) -> str:
    """The batch inside a result id."""
    return result_id_.rpartition(":")[0]


def batch_request_id(batch_id: str, line: int) -> str:
    """The `batch_req_...` id of an output line: derived, so the same file never shows another one."""
    return f"batch_req_{blake3.blake3(result_id(batch_id, line).encode()).hexdigest(length=16)}"


def new_api_key() -> str:
    """A key of 32 random bytes; only its hash is ever stored."""
    return with_checksum(base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode())


def new_key_id(now_ms: int) -> str:
    """The id of an API key, by which it is listed and revoked; it tells nothing of the key."""
    return new_id("key_", now_ms)


def api_key_hash(key: str, pepper: bytes) -> str:
    """The stored form of an API key: blake3 keyed with the installation's 32-byte pepper."""
    return blake3.blake3(key.encode("utf-8", "replace"), key=pepper).hexdigest()


def hash64(data: bytes) -> int:
    """A 64-bit fingerprint, never 0, for finding suspects; equality is confirmed by reading them again."""
    return int.from_bytes(blake3.blake3(data).digest(length=8), "little") or 1


def canonical(value: Any) -> bytes:
    """The one JSON form of a value: sorted keys, no white space."""
    return orjson.dumps(value, option=_CANONICAL)


def request_fingerprint(
    *,
    secret: bytes,
    generation: int,
    answers_as: str,
    endpoint: str,
    model: str,
    body: Mapping[str, Any],
    provider_options: Mapping[str, Any] | None = None,
) -> str:
    """64 hex digits that are equal exactly when two requests of one tenant ask the same of the same server.

    Args:
        secret: the tenant's 32 bytes; another tenant's equal request has another fingerprint.
        answers_as: the server's base URL, or its name where the URL is of no account.
        generation: the tenant's cache generation; raising it forgets every cached answer at once.
        body, provider_options: the request's parameters; every one of them counts.
    """
    asked = {name: value for name, value in body.items() if name != "model"}
    words = [generation, answers_as, endpoint, model, asked]
    if provider_options:
        words.append(provider_options)
    return blake3.blake3(canonical(words), key=secret).hexdigest()


def call_fingerprint(call: Call, *, secret: bytes, generation: int, answers_as: str) -> str:
    """`request_fingerprint` of a call as it goes to its provider, defaults and all."""
    return request_fingerprint(
        secret=secret,
        generation=generation,
        answers_as=answers_as,
        endpoint=call.endpoint,
        model=call.model,
        body=call.body,
        provider_options=call.provider_options,
    )


def answer_key(provider: str, endpoint: str, fingerprint: str) -> str:
    """The name under which the answer to a request is cached; the tenant lies inside the fingerprint."""
    kind = "embedding" if endpoint == EMBEDDINGS_ENDPOINT else "ai"
    return f"{kind}:v2:{provider}:{fingerprint}"


def content_key(file_digest: str, options: dict[str, Any]) -> str:
    """What makes two `batchwright run` the same work: the file's bytes and the options that change answers."""
    return blake3.blake3(file_digest.encode() + canonical(options)).hexdigest(length=16)
