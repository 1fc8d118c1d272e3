"""Lines: bytes cut into them, Python requests turned into them, results read from them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from workers.core.errors import UserError
from workers.core.lines import custom_id_of

DEFAULT_ENDPOINT = "/v1/chat/completions"
Request = str | Mapping[str, Any]


class LineSplitter:
    """Cut a stream of chunks at LF alone: text splitters also cut at U+2028, which JSON strings may hold."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that this chunk completes, without their ends; blank ones are left out."""
        first, *others = chunk.split(b"\n")
        self._rest.append(first)
        if not others:
            return []
        lines = [b"".join(self._rest), *others[:-1]]
        self._rest = [others[-1]]
        return [line for line in lines if line.strip()]

    def finish(self) -> list[bytes]:
        """The last line, if it had no end."""
        line = b"".join(self._rest)
        self._rest = []
        return [line] if line.strip() else []


@dataclass(frozen=True, slots=True)
class Result:
    """The answer or the final error of one request.

    Attributes:
        ok: whether `body` is an answer.
        body: the answer in the OpenAI shape, or the provider's error object; None without any HTTP answer.
        error: in words; None for an answer.
        code: the error's code, where there is one.
        warnings: what the request lost on its way to the provider, a sentence each.
    """

    custom_id: str
    ok: bool
    status_code: int | None
    body: Mapping[str, Any] | None = field(repr=False)
    error: str | None
    code: str | None
    warnings: tuple[str, ...] = ()

    @property
    def text(self) -> str | None:
        """The answer's text, if it has one (embeddings do not)."""
        return text_of(self.body) if self.ok and self.body is not None else None


def result_from(line: bytes) -> Result:
    """Read one line of an output or an error file."""
    data = orjson.loads(line)
    response, error = data.get("response") or {}, data.get("error")
    custom_id = data.get("custom_id") or ""
    warnings = tuple((data.get("batchwright") or {}).get("warnings") or ())
    status, body = response.get("status_code"), response.get("body")
    if error is not None or not response:
        error = error or {}
        words = str(error.get("message", ""))
        return Result(custom_id, False, status, body, words, error.get("code"), warnings)
    body = body or {}
    if status is not None and status < 400:
        return Result(custom_id, True, status, body, None, None, warnings)
    said = body.get("error")
    said = said if isinstance(said, Mapping) else {}
    words = str(said.get("message") or f"status {status}")
    return Result(custom_id, False, status, body, words, said.get("code") or said.get("type"), warnings)


def text_of(body: Mapping[str, Any]) -> str | None:
    """The text inside an answer's body: chat completion, completion, response or transcription."""
    for choice in body.get("choices") or ():
        message = choice.get("message")
        content = message.get("content") if isinstance(message, Mapping) else choice.get("text")
        return content if isinstance(content, str) else None
    if isinstance(body.get("text"), str):
        return str(body["text"])
    parts = [
        part["text"]
        for item in body.get("output") or ()
        for part in item.get("content") or ()
        if isinstance(part, Mapping) and isinstance(part.get("text"), str)
    ]
    return "".join(parts) if parts else None


def input_line(request: Request, number: int, endpoint: str) -> bytes:
    """One input line, with its end, from a prompt, a request body, or a whole line with parts left out.

    Args:
        number: counted from 1; `request-<number>` is the custom_id of a request that brings none.
    Raises: UserError for what is none of the three, or cannot be JSON.
    """
    line: dict[str, Any] = {"custom_id": f"request-{number}", "method": "POST", "url": endpoint}
    if isinstance(request, str):
        line["body"] = prompt_body(request, endpoint)
    elif not isinstance(request, Mapping):
        raise UserError(  # mypy knows the type, a caller without types may not
            f"request {number} is of type {type(request).__name__}",
            hint="give a prompt (str), a request body (dict), or a whole input line (dict with 'body')",
        )
    elif isinstance(request.get("body"), Mapping):
        line |= request
    else:
        line["body"] = dict(request)
    try:
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError as error:
        raise UserError(
            f"request {number} cannot be written as JSON: {error}", hint="use JSON types only"
        ) from error


def prompt_body(prompt: str, endpoint: str) -> dict[str, Any]:
    """The smallest body that asks `prompt` of an endpoint."""
    if endpoint == "/v1/chat/completions":
        return {"messages": [{"role": "user", "content": prompt}]}
    if endpoint == "/v1/completions":
        return {"prompt": prompt}
    return {"input": prompt}


def endpoint_of(first_line: bytes) -> str | None:
    """The `url` of an input line; None when it has none or is no JSON."""
    try:
        url = orjson.loads(first_line).get("url")
    except (ValueError, AttributeError):
        return None
    return url if isinstance(url, str) else None


def in_input_order(
    inputs: Iterable[bytes], answers: Iterator[Result], failures: Iterator[Result]
) -> Iterator[Result]:
    """Merge the lines of both result files, each in input order already, by the input's custom_ids."""
    answer, failure = next(answers, None), next(failures, None)
    for line in inputs:
        custom_id = custom_id_of(line)
        if answer is not None and answer.custom_id == custom_id:
            yield answer
            answer = next(answers, None)
        elif failure is not None and failure.custom_id == custom_id:
            yield failure
            failure = next(failures, None)
    # Nothing is left here unless the input was changed; then showing it beats hiding it.
    if answer is not None:
        yield answer
    yield from answers
    if failure is not None:
        yield failure
    yield from failures
