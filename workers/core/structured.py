"""Hold an answer against the JSON Schema its request asked for, and ask again when it does not match.

The engine asks `mismatch` of every answer; `asked_again` makes the call that shows the model its own reply and what
is wrong with it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import jsonschema_rs
import orjson

from workers.core.messages import Call

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
_ANY_OBJECT: Mapping[str, Any] = {"type": "object"}
_MAX_MESSAGE_CHARACTERS = 300
_OTHER_ANSWERS = ("tool_calls", "function_call", "refusal")
_OTHER_ITEMS = ("function_call", "custom_tool_call", "mcp_approval_request")
_TEXT_PARTS = ("text", "output_text")


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Why an answer is none.

    Attributes:
        path: where in the answer, as a JSONPath: `$.items[0].price`.
        text: the answer's words that were held against the schema.
        cut_off: the output cap ended it; asking the same again would end the same.
    """

    path: str
    message: str
    text: str
    cut_off: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def wanted_schema(call: Call) -> Mapping[str, Any] | None:
    """The schema the answer must match; None when any words will do."""
    if call.endpoint == CHAT:
        wanted = call.body.get("response_format")
        inner = wanted.get("json_schema") if isinstance(wanted, Mapping) else None
    elif call.endpoint == RESPONSES:
        text = call.body.get("text")
        wanted = inner = text.get("format") if isinstance(text, Mapping) else None
    else:
        return None
    kind = wanted.get("type") if isinstance(wanted, Mapping) else None
    if kind == "json_object":
        return _ANY_OBJECT
    schema = inner.get("schema") if kind == "json_schema" and isinstance(inner, Mapping) else None
    return schema if isinstance(schema, Mapping) else None


def mismatch(call: Call, body: bytes) -> Mismatch | None:
    """The first place where an answer does not match; None when it does, or when nothing was asked for.

    A refusal and a call of a tool are answers of another kind and pass.
    """
    schema = wanted_schema(call)
    if schema is None:
        return None
    validator = _validator(orjson.dumps(schema))
    for text, cut_off in _texts(orjson.loads(body)):
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            return Mismatch("$", f"not valid JSON ({error})", text, cut_off)
        if validator is None:
            continue
        try:
            validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            return Mismatch(
                _path(error.instance_path), error.message[:_MAX_MESSAGE_CHARACTERS], text, cut_off
            )
    return None


def asked_again(call: Call, wrong: Mismatch) -> Call:
    """The same call with the reply that did not match, and what is wrong with it, behind its messages."""
    reproach = (
        f"Your reply does not match the required JSON schema at {wrong}. "
        "Reply again with the corrected JSON document alone."
    )
    name = "messages" if call.endpoint == CHAT else "input"
    said = call.body.get(name) or []
    earlier = [{"role": "user", "content": said}] if isinstance(said, str) else list(said)
    more = [{"role": "assistant", "content": wrong.text}, {"role": "user", "content": reproach}]
    return replace(call, body={**call.body, name: [*earlier, *more]})


def _texts(answer: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """The words of every choice that must match, and whether the cap cut them off. Odd shapes are nobody's words."""
    for choice in _objects(answer.get("choices")):
        message = choice.get("message")
        if isinstance(message, dict) and not any(message.get(other) for other in _OTHER_ANSWERS):
            yield _words(message.get("content")), choice.get("finish_reason") == "length"
    items = list(_objects(answer.get("output")))
    if any(item.get("type") in _OTHER_ITEMS for item in items):
        return  # what a model says before it calls a tool is no answer yet
    cut_off = answer.get("status") == "incomplete"
    messages = [item for item in items if item.get("type") == "message"]
    for message in messages:
        if not any(part.get("type") == "refusal" for part in _objects(message.get("content"))):
            yield _words(message.get("content")), cut_off
    if cut_off and not messages and items:
        yield "", True  # it was still thinking


def _words(content: object) -> str:
    """A content's text, whether it is one or stands in parts."""
    if isinstance(content, str):
        return content
    texts = [part["text"] for part in _objects(content) if part.get("type") in _TEXT_PARTS and "text" in part]
    return "".join(text for text in texts if isinstance(text, str))


def _objects(value: object) -> Iterator[dict[str, Any]]:
    return (each for each in value if isinstance(each, dict)) if isinstance(value, list) else iter(())


@lru_cache(256)
def _validator(schema: bytes) -> Any | None:
    """A compiled schema; None for one that cannot be compiled: what it means is between the user and the provider."""
    try:
        # Never over the network: a $ref elsewhere is one that cannot be compiled.
        return jsonschema_rs.validator_for(orjson.loads(schema), offline=True)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError, TypeError):
        return None


def _path(parts: Any) -> str:
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
