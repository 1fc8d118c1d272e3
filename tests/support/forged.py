"""What somebody who can write to the broker may put into a queue of ours, by the reason for which it is refused.

Made from a message of ours by changing one thing, and from nothing at all.
"""

from __future__ import annotations

import base64
import bz2
import copy
import json
import pickle
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from workers.core.inbound import Refusal

Doc = dict[str, Any]
NO_ID = {"$gt": ""}
_BOMB = bz2.compress(bytes(500_000)) * 20  # one after the other: made at once, and 10 MB all the same


def forgeries(sound: bytes) -> Iterator[tuple[str, Refusal, bytes]]:
    """(what it is, why it is refused, the entry of a queue) for everything we know of; `sound` is a message of ours."""
    for name, raw in _NO_MESSAGES.items():
        yield name, Refusal.MALFORMED, raw
    yield "a huge body", Refusal.TOO_LARGE, json.dumps(json.loads(sound) | {"body": "x" * 5_000_000}).encode()
    for name, (reason, change) in _CHANGES.items():
        message = copy.deepcopy(json.loads(sound))
        change(message)
        yield name, reason, json.dumps(message).encode()


_NO_MESSAGES = {
    "an empty string": b"",
    "no JSON": b"hello",
    "half a message": b'{"body": "abc", "headers": {',
    "a pickle": pickle.dumps({"task": "plan.batch"}),
    "bytes that are no text": b"\xff\xfe\x00\x01",
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
    "an empty object": b"{}",
    "JSON without end": b"[" * 60_000,
    "a number without end": b"9" * 60_000,
}


def _body(message: Doc, body: object) -> None:
    message["body"] = base64.b64encode(json.dumps(body).encode()).decode()


def _args(*args: object, **kwargs: object) -> Callable[[Doc], None]:
    return lambda message: _body(message, [list(args), kwargs, {}])


def _set(*path: str, to: object) -> Callable[[Doc], None]:
    def change(message: Doc) -> None:
        at = message
        for name in path[:-1]:
            at = at[name]
        at[path[-1]] = to

    return change


def _drop(*path: str) -> Callable[[Doc], None]:
    def change(message: Doc) -> None:
        at = message
        for name in path[:-1]:
            at = at[name]
        del at[path[-1]]

    return change


def _packed(how: str, body: bytes) -> Callable[[Doc], None]:
    def change(message: Doc) -> None:
        message["headers"]["compression"] = how
        message["body"] = base64.b64encode(body).decode()

    return change


def _as(content_type: str, encoding: str, body: bytes) -> Callable[[Doc], None]:
    def change(message: Doc) -> None:
        message |= {"content-type": content_type, "content-encoding": encoding}
        message["body"] = base64.b64encode(body).decode()

    return change


_ID = f"batch_{'0' * 32}"
_M, _A, _U, _D, _T = (
    Refusal.MALFORMED,
    Refusal.ARGUMENTS,
    Refusal.UNSUPPORTED,
    Refusal.DECODE_ERROR,
    Refusal.TASK_UNKNOWN,
)
_CHANGES: dict[str, tuple[Refusal, Callable[[Doc], None]]] = {
    "no properties": (_M, _drop("properties")),
    "no headers": (_M, _drop("headers")),
    "no body": (_M, _drop("body")),
    "no delivery tag": (_M, _drop("properties", "delivery_tag")),
    "a list for a delivery tag": (_M, _set("properties", "delivery_tag", to=[1])),
    "no delivery info": (_M, _drop("properties", "delivery_info")),
    "no routing key": (_M, _drop("properties", "delivery_info", "routing_key")),
    "headers that are a list": (_M, _set("headers", to=[])),
    "a body that is a list": (_M, _set("body", to=[[_ID], {}, {}])),
    "no content type": (_M, _set("content-type", to=None)),
    "no id": (_M, _drop("headers", "id")),
    "an id that is a list": (_M, _set("headers", "id", to=["x"])),
    "an endless id": (_M, _set("headers", "id", to="x" * 5000)),
    "no task": (_M, _drop("headers", "task")),
    "a task that is a list": (_M, _set("headers", "task", to=["plan.batch"])),
    "an odd root": (_M, _set("headers", "root_id", to=[1])),
    "odd retries": (_M, _set("headers", "retries", to="many")),
    "another task": (_T, _set("headers", "task", to="os.system")),
    "a task of Celery": (_T, _set("headers", "task", to="celery.starmap")),
    "a body that is no base64": (_D, _set("body", to="a")),
    "an unknown body encoding": (_D, _set("properties", "body_encoding", to="rot13")),
    "a pickled body": (_D, _as("application/x-python-serialize", "binary", pickle.dumps([[_ID], {}, {}]))),
    "a YAML body": (_D, _as("application/x-yaml", "utf-8", b"- [x]")),
    "an unknown content type": (_D, _as("application/odd", "utf-8", b"x")),
    "an unknown encoding": (_D, _as("application/json", "klingon", b"{}")),
    "an encoding that unpacks": (_D, _as("application/json", "bz2_codec", _BOMB)),
    "raw data": (_D, _as("application/data", "binary", b"x")),
    "a body that is no JSON": (_D, _as("application/json", "utf-8", b'[["x"')),
    "a body without end": (_D, _as("application/json", "utf-8", b"[" * 40_000)),
    "a packed body": (_D, _packed("application/x-gzip", zlib.compress(bytes(1_000_000)))),
    "an unknown packing": (_D, _packed("application/odd", b"x")),
    "an ETA far away": (_U, _set("headers", "eta", to="2099-01-01T00:00:00+00:00")),
    "an ETA that is none": (_U, _set("headers", "eta", to={"a": 1})),
    "an expiry": (_U, _set("headers", "expires", to="2001-01-01T00:00:00+00:00")),
    "a time limit": (_U, _set("headers", "timelimit", to=[1, 2, 3])),
    "a time limit that is a number": (_U, _set("headers", "timelimit", to=5)),
    "odd stamps": (_U, _set("headers", "stamped_headers", to=7)),
    "callbacks": (_U, lambda message: _body(message, [[_ID], {}, {"callbacks": [{"task": "plan.batch"}]}])),
    "no arguments": (_A, _args()),
    "two arguments": (_A, _args(_ID, _ID)),
    "a named argument": (_A, _args(_ID, batch_id=_ID)),
    "an operator for an id": (_A, _args(NO_ID)),
    "a list for an id": (_A, _args([_ID])),
    "a number for an id": (_A, _args(7)),
    "null for an id": (_A, _args(None)),
    "an id of another form": (_A, _args("$where")),
    "an id with more behind it": (_A, _args(_ID + "\n")),
    "two parts": (_A, lambda message: _body(message, [[_ID], {}])),
    "arguments that are no list": (_A, lambda message: _body(message, [_ID, {}, {}])),
    "an object for a body": (_A, lambda message: _body(message, {"args": [_ID], "kwargs": {}})),
    "a string for a body": (_A, lambda message: _body(message, _ID)),
}
