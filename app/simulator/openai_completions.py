"""OpenAI's old text completions: each prompt is answered as a chat of one user message would be. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import orjson

from app.simulator import checks
from app.simulator.chat import ChatAnswer, Choice, answer_chat
from app.simulator.dialect import SSE, Reply, Stamp, Terms, Work
from app.simulator.errors import ApiError
from app.simulator.openai_chat import read_chat
from app.simulator.pieces import pieces_of

_MAX_PROMPTS = 2048
_TOKENS_UNLESS_TOLD = 16
_DONE = b"data: [DONE]\n\n"


def completions(body: Mapping[str, Any], terms: Terms) -> Work:
    """POST /completions.

    Raises: ApiError for whatever the provider would refuse.
    """
    prompts = _prompts(body.get("prompt"))
    plain = {
        "max_tokens": _TOKENS_UNLESS_TOLD,
        **{name: value for name, value in body.items() if name not in ("prompt", "tools", "response_format")},
        "messages": [{"role": "user", "content": prompts[0]}],
    }
    request = read_chat(plain, all_models=terms.all_models)
    answers = []
    for prompt in prompts:
        asked = replace(request, messages=({"role": "user", "content": prompt},))
        answers.append(answer_chat(asked, terms.seed, terms.huge_bytes))
    paid = sum(each.prompt_tokens for each in answers)
    spent = sum(each.completion_tokens for each in answers)
    usage = {"prompt_tokens": paid, "completion_tokens": spent, "total_tokens": paid + spent}
    write = partial(_write, request.model, answers, usage, request.stream, request.include_usage)
    return Work(request.model, paid, spent, write, stream=request.stream)


def _prompts(prompt: object) -> list[str]:
    """Texts; token ids become their numbers in words' stead."""
    listed = prompt if isinstance(prompt, list) else [prompt]
    if listed and all(isinstance(each, int) for each in listed):
        listed = [listed]
    known = [each for each in listed if isinstance(each, str | list)]
    if not known or len(known) > _MAX_PROMPTS or len(known) < len(listed):
        raise checks.wrong_type("prompt", "a string or an array of strings or of token ids", prompt)
    texts = [each if isinstance(each, str) else " ".join(map(str, each)) for each in known]
    if not all(texts):
        raise ApiError(400, "Invalid 'prompt': empty string.", param="prompt")
    return texts


def _write(
    model: str,
    answers: list[ChatAnswer],
    usage: dict[str, int],
    stream: bool,
    include_usage: bool,
    stamp: Stamp,
) -> Reply:
    head = {"id": f"cmpl-{stamp.id}", "object": "text_completion", "created": stamp.created, "model": model}
    choices = [choice for answer in answers for choice in answer.choices]
    if stream:
        return Reply(events=_events(head, choices, usage if include_usage else None), content_type=SSE)
    shown = [_shown(k, choice.text or "", choice.finish_reason) for k, choice in enumerate(choices)]
    return Reply(orjson.dumps({**head, "choices": shown, "usage": usage}))


def _events(head: dict[str, Any], choices: list[Choice], usage: dict[str, int] | None) -> Iterator[bytes]:
    for k, choice in enumerate(choices):
        for piece in pieces_of(choice.text or ""):
            yield _event({**head, "choices": [_shown(k, piece, None)]})
        yield _event({**head, "choices": [_shown(k, "", choice.finish_reason)]})
    if usage is not None:
        yield _event({**head, "choices": [], "usage": usage})
    yield _DONE


def _shown(index: int, text: str, reason: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": reason}


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(data) + b"\n\n"
