"""The values of a chat request in the OpenAI shape, by which other providers' adapters can go. Pure.

`Chat` holds system texts, turns of parts, tools, output format, sampling; chat_reading.py reads it out of a call.
OpenAI's own adapter does not need it. `Chat` and `Turn` are named tuples because making a frozen dataclass of that
many fields takes 1.5 us longer, which every request would pay.

Source: OpenAI's published OpenAPI document, POST /v1/chat/completions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w=.+-]+)*;base64,", re.ASCII)


@dataclass(frozen=True, slots=True)
class Text:
    """Words."""

    text: str


@dataclass(frozen=True, slots=True)
class Media:
    """An image, a sound or a document: `data` is base64 with its `media_type`, else `url` or `file_id` says where."""

    kind: Literal["image", "audio", "document"]
    media_type: str = ""
    data: str = ""
    url: str = ""
    file_id: str = ""
    filename: str = ""
    detail: str = ""


Part = Text | Media


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the model made; `arguments` is JSON text, as the model wrote it."""

    id: str
    name: str
    arguments: str


class Turn(NamedTuple):
    """One message after the leading system messages.

    Attributes:
        role: `system` for one that stands between other messages.
        call_id: of a tool's turn: the call that it answers; `name` is then the tool's, where it is known.
        at: its path in the request, for error messages.
    """

    role: Literal["user", "assistant", "tool", "system"]
    parts: tuple[Part, ...]
    calls: tuple[ToolCall, ...] = ()
    call_id: str = ""
    name: str = ""
    at: str = ""

    @property
    def text(self) -> str:
        """The words of all its parts."""
        return "".join([part.text for part in self.parts if isinstance(part, Text)])


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call; `parameters` is a JSON Schema."""

    name: str
    description: str
    parameters: Mapping[str, Any] | None
    strict: bool


@dataclass(frozen=True, slots=True)
class OutputSchema:
    """The JSON Schema that the answer must match."""

    name: str
    schema: Mapping[str, Any]
    strict: bool
    description: str = ""


class Chat(NamedTuple):
    """A chat request.

    Attributes:
        system: the leading system (or developer) messages, a text each.
        tool_choice: `auto`, `none`, `required`, or `named` with the name in `tool_name`; empty: not said.
        json_mode: the answer must be a JSON object, without a schema.
        cap: output tokens at most.
        rest: every parameter that is not read into these and not null; what stands in messages, in their parts and
            in tools by its path (`messages[0].content[1].cache_control`).
    """

    system: tuple[str, ...] = ()
    turns: tuple[Turn, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: Literal["", "auto", "none", "required", "named"] = ""
    tool_name: str = ""
    parallel_tools: bool | None = None
    json_mode: bool = False
    schema: OutputSchema | None = None
    cap: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    choices: int = 1
    reasoning_effort: str = ""
    user: str = ""
    rest: Mapping[str, Any] = MappingProxyType({})


def data_url(url: str) -> tuple[str, str]:
    """Media type and base64 text of a data: URL; two empty strings for any other URL (RFC 2397)."""
    match = _DATA_URL.match(url)
    return (match[1] or "application/octet-stream", url[match.end() :]) if match else ("", "")
