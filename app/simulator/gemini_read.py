"""Read Gemini's bodies as strictly as the API does: into `chat.ChatRequest`, or texts to embed. Pure.

gemini_fields.py has made sure of names and types; here is what the values mean together. Rules and refusals:
ai.google.dev/api/generate-content, /api/embeddings, and the function calling guide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.simulator.answers import prompt_digest
from app.simulator.chat import ChatRequest, chosen_tools
from app.simulator.dialect import Terms
from app.simulator.gemini_errors import GeminiError, refused
from app.simulator.gemini_fields import read_fields
from app.simulator.gemini_schema import checked_json_schema, from_openapi
from app.simulator.gemini_turns import messages_of, text_of
from app.simulator.vectors import MAX_DIMENSIONS

JSON_TYPE = "application/json"
_MAX_CANDIDATES = 8
_MAX_STOPS = 5
_MAX_EMBEDDINGS = 100
_MAX_THINKING_TOKENS = 32_768
_FUNCTION_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
_BOUNDS = (
    ("temperature", 0.0, 2.0),
    ("topP", 0.0, 1.0),
    ("presencePenalty", -2.0, 2.0),
    ("frequencyPenalty", -2.0, 2.0),
)


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """A checked request, and what only this API asks of the answer."""

    chat: ChatRequest
    shows_thoughts: bool


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """A text and the size of its vector."""

    text: str
    dimensions: int


def read_generate(body: Mapping[str, Any], model: str, terms: Terms, *, stream: bool) -> GenerateRequest:
    """Check a GenerateContentRequest.

    Raises: ApiError for whatever the API would refuse.
    """
    read = read_fields(body, "GenerateContentRequest")
    settings = read.get("generationConfig", {})
    messages = messages_of(read)
    schema = _schema(settings)
    _check_settings(settings)
    if read.get("cachedContent"):
        raise GeminiError(403, "CachedContent not found (or permission denied)")
    tools = _tools(read.get("tools", ()))
    thinking = settings.get("thinkingConfig", {})
    chat = ChatRequest(
        model=model,
        messages=messages,
        stream=stream,
        choices=settings.get("candidateCount", 1),
        max_tokens=settings.get("maxOutputTokens"),
        stop=tuple(each for each in settings.get("stopSequences", ()) if each),
        wants_json=settings.get("responseMimeType") == JSON_TYPE,
        schema=schema,
        tools=tools,
        calls=_calls(read.get("toolConfig", {}), tools, prompt_digest(model, messages, 0), terms.tool_calls),
        thinks=_thinks(thinking),
    )
    return GenerateRequest(chat, thinking.get("includeThoughts", False))


def read_count(body: Mapping[str, Any], model: str, terms: Terms) -> ChatRequest:
    """What CountTokensRequest wants counted: contents, or a whole request.

    Raises: ApiError, too if both are given.
    """
    read = read_fields(body, "CountTokensRequest")
    whole = read.get("generateContentRequest")
    if whole is None:
        return ChatRequest(model=model, messages=messages_of(read, "CountTokensRequest"))
    if "contents" in read:
        raise refused(
            "contents", "must not be set together with generate_content_request", "CountTokensRequest"
        )
    return read_generate(whole, model, terms, stream=False).chat


def read_embed(body: Mapping[str, Any], dimensions: int) -> EmbedRequest:
    """Check an EmbedContentRequest.

    Args:
        dimensions: of a vector whose size the request leaves open.
    Raises: ApiError.
    """
    return _embed(read_fields(body, "EmbedContentRequest"), "EmbedContentRequest", "", dimensions)


def read_batch_embed(body: Mapping[str, Any], model: str, dimensions: int) -> list[EmbedRequest]:
    """Check a BatchEmbedContentsRequest; each request must name the model of the path.

    Raises: ApiError.
    """
    kind = "BatchEmbedContentsRequest"
    requests = read_fields(body, kind).get("requests", ())
    if not requests:
        raise refused("requests", "requests is not specified", kind)
    if len(requests) > _MAX_EMBEDDINGS:
        raise refused("requests", f"at most {_MAX_EMBEDDINGS} requests can be in one batch", kind)
    for k, each in enumerate(requests):
        named = each.get("model", "")
        if not named.startswith("models/"):
            raise refused(f"requests[{k}].model", "unexpected model name format", kind)
        if named != f"models/{model}":
            raise refused(f"requests[{k}].model", "must be the model in the path of the request", kind)
    return [_embed(each, kind, f"requests[{k}].", dimensions) for k, each in enumerate(requests)]


def _embed(read: Mapping[str, Any], kind: str, at: str, dimensions: int) -> EmbedRequest:
    text = text_of(read.get("content", {}).get("parts", ()))
    if not text:
        raise refused(f"{at}content", "content is empty", kind)
    wanted = read.get("outputDimensionality", dimensions)
    if not 1 <= wanted <= MAX_DIMENSIONS:
        raise refused(f"{at}output_dimensionality", f"must be between 1 and {MAX_DIMENSIONS}", kind)
    return EmbedRequest(text, wanted)


def _check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse numbers out of bounds and what no model of the simulator does."""
    for name, low, high in _BOUNDS:
        if not low <= settings.get(name, low) <= high:
            raise refused(f"generation_config.{name}", f"must be in the range [{low:g}, {high:g}]")
    if not 1 <= settings.get("candidateCount", 1) <= _MAX_CANDIDATES:
        raise refused("generation_config.candidate_count", f"must be in the range [1, {_MAX_CANDIDATES}]")
    if settings.get("maxOutputTokens", 1) < 1:
        raise refused("generation_config.max_output_tokens", "max_output_tokens must be positive.")
    if len(settings.get("stopSequences", ())) > _MAX_STOPS:
        raise refused("generation_config.stop_sequences", f"at most {_MAX_STOPS} are allowed")
    if settings.get("responseLogprobs") or "logprobs" in settings:
        raise GeminiError(400, "Logprobs is not enabled for this model")
    if set(settings.get("responseModalities", ())) - {"TEXT", "MODALITY_UNSPECIFIED"}:
        raise GeminiError(
            400, "The requested combination of response modalities is not supported by the model."
        )


def _schema(settings: Mapping[str, Any]) -> Any:
    """The schema that the answer must be valid for, as JSON schema; None where any text will do."""
    kind = settings.get("responseMimeType", "text/plain")
    if kind not in ("text/plain", JSON_TYPE):
        raise refused(
            "generation_config.response_mime_type", f"allowed mimetypes are `text/plain` and `{JSON_TYPE}`."
        )
    given = [name for name in ("responseSchema", "responseJsonSchema") if name in settings]
    if not given:
        return None
    if len(given) > 1:
        raise refused("generation_config", "only one of response_schema and response_json_schema may be set")
    if kind != JSON_TYPE:
        said = f"must be `{JSON_TYPE}` when a response schema is set"
        raise refused("generation_config.response_mime_type", said)
    if given == ["responseSchema"]:
        return from_openapi(settings["responseSchema"], "generation_config.response_schema")
    return checked_json_schema(settings["responseJsonSchema"], "generation_config.response_json_schema")


def _tools(given: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    tools: list[dict[str, Any]] = []
    for k, tool in enumerate(given):
        for name in tool:
            if name != "functionDeclarations":
                raise GeminiError(400, f"Tool {name} is not supported by this model.")
        for j, each in enumerate(tool.get("functionDeclarations", ())):
            tools.append(_function(each, f"tools[{k}].function_declarations[{j}]"))
    names = [tool["function"]["name"] for tool in tools]
    twice = next((name for k, name in enumerate(names) if name in names[:k]), None)
    if twice is not None:
        raise GeminiError(400, f"Duplicate function declaration found: {twice}")
    return tuple(tools)


def _function(declared: Mapping[str, Any], at: str) -> dict[str, Any]:
    name = declared.get("name", "")
    if not _FUNCTION_NAME.fullmatch(name):
        said = (
            "Invalid function name. Must start with a letter or an underscore, and hold only letters, digits, "
            "underscores, dots, colons and dashes, 128 at most."
        )
        raise refused(f"{at}.name", said)
    function: dict[str, Any] = {"name": name}
    if "description" in declared:
        function["description"] = declared["description"]
    if "parameters" in declared and "parametersJsonSchema" in declared:
        raise refused(at, "only one of parameters and parameters_json_schema may be set")
    if "parameters" in declared:
        function["parameters"] = from_openapi(declared["parameters"], f"{at}.parameters")
    elif "parametersJsonSchema" in declared:
        function["parameters"] = declared["parametersJsonSchema"]
    return {"type": "function", "function": function}


def _calls(
    config: Mapping[str, Any], tools: Sequence[Mapping[str, Any]], digest: bytes, wanted: int | None
) -> tuple[Mapping[str, Any], ...]:
    """The functions that the answer calls; of the allowed ones where the request narrows them."""
    calling = config.get("functionCallingConfig", {})
    mode, allowed = calling.get("mode", "AUTO"), calling.get("allowedFunctionNames", ())
    if calling and not tools:
        raise GeminiError(400, "Function calling config is set without function_declarations.")
    if allowed and mode not in ("ANY", "VALIDATED"):
        raise GeminiError(400, "Allowed function names should be set only when function calling mode is ANY.")
    unknown = sorted(set(allowed) - {tool["function"]["name"] for tool in tools})
    if unknown:
        raise GeminiError(400, f"Allowed function name {unknown[0]!r} is not one of function_declarations.")
    if mode == "NONE":
        return ()
    open_to = [tool for tool in tools if not allowed or tool["function"]["name"] in allowed]
    return chosen_tools(open_to, None, required=mode == "ANY", parallel=True, wanted=wanted, digest=digest)


def _thinks(config: Mapping[str, Any]) -> bool:
    budget = config.get("thinkingBudget")
    if budget is None:
        return config.get("includeThoughts", False) or "thinkingLevel" in config
    if "thinkingLevel" in config:
        raise GeminiError(400, "You can only set only one of thinking budget and thinking level.")
    if not -1 <= budget <= _MAX_THINKING_TOKENS:
        raise GeminiError(
            400,
            f"The thinking budget {budget} is invalid. Please choose a value between 0 and {_MAX_THINKING_TOKENS}.",
        )
    return bool(budget)
