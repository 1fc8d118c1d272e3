"""Body, headers and address of a chat call: what an adapter would send, taken apart.

Every builder takes the words (or messages), and any parameter of OpenAI's chat completions by its name there:
`max_tokens`, `temperature`, `tools`, `response_format`, ...; `provider_options` are laid over the finished body.
A parameter that is None counts as not given. Without `model` it is the one the catalogue names for the task type.

All of them raise UserError for an unknown provider or task type, and Untranslatable for what the provider's API
cannot say; what it merely leaves out (and a retired model's replacement) is a Python warning.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from batchwright.ai.routing import CHAT, model_at
from batchwright.ai.tasks import Prompt, Provider, TaskType, known
from config.catalog import DEFAULT_ROUTE
from config.catalog_file import builtin_catalog
from config.kinds import KINDS
from workers.core.choose import call_of, read_wanted
from workers.core.errors import UserError
from workers.core.identity import EMBEDDINGS_ENDPOINT
from workers.core.messages import Call, HttpRequest, LineProblem
from workers.providers.anthropic import Anthropic
from workers.providers.base import Adapter
from workers.providers.gemini import Gemini
from workers.providers.ollama import Ollama
from workers.providers.openai import OpenAI

_ADAPTERS: Mapping[Provider, Adapter] = {
    Provider.OPENAI: OpenAI(),
    Provider.ANTHROPIC: Anthropic(),
    Provider.GEMINI: Gemini(),
    Provider.OLLAMA: Ollama(),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a caller asks for besides the words. `parameters` are the endpoint's own, and Ollama's two."""

    model: str | None = None
    system: str | None = None
    task_type: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


def build_openai_request(
    prompt: Prompt,
    *,
    model: str | None = None,
    system: str | None = None,
    task_type: str | None = None,
    stream: bool = False,
    **parameters: Any,
) -> dict[str, Any]:
    """The body of POST /v1/chat/completions, for OpenAI and every server that speaks its API."""
    return _body(Provider.OPENAI, prompt, Asked(model, system, task_type, parameters), stream=stream)


def build_anthropic_request(
    prompt: Prompt,
    *,
    model: str | None = None,
    system: str | None = None,
    task_type: str | None = None,
    stream: bool = False,
    **parameters: Any,
) -> dict[str, Any]:
    """The body of POST /v1/messages. A system prompt as long as the model's prompt cache takes is marked for it."""
    return _body(Provider.ANTHROPIC, prompt, Asked(model, system, task_type, parameters), stream=stream)


def build_gemini_request(
    prompt: Prompt,
    *,
    model: str | None = None,
    system: str | None = None,
    task_type: str | None = None,
    stream: bool = False,
    **parameters: Any,
) -> dict[str, Any]:
    """The body of POST /v1beta/models/{model}:generateContent. The model stands in the address; give both the same."""
    return _body(Provider.GEMINI, prompt, Asked(model, system, task_type, parameters), stream=stream)


def build_ollama_request(
    prompt: Prompt,
    *,
    model: str | None = None,
    system: str | None = None,
    task_type: str | None = None,
    stream: bool = False,
    keep_alive: str | int | None = None,
    num_ctx: int | None = None,
    **parameters: Any,
) -> dict[str, Any]:
    """The body of POST /api/chat.

    Args:
        model: a model's name, or one of fast, mini and quality.
        keep_alive: how long the model stays loaded after the call: `24h`, or seconds.
        num_ctx: size of the context in tokens; None: larger than the server's default where the prompt needs it.
    """
    given = {**parameters, "keep_alive": keep_alive, "num_ctx": num_ctx}
    return _body(Provider.OLLAMA, prompt, Asked(model, system, task_type, given), stream=stream)


def build_provider_request(
    provider: str,
    prompt: Prompt,
    *,
    model: str | None = None,
    system: str | None = None,
    task_type: str | None = None,
    stream: bool = False,
    **parameters: Any,
) -> dict[str, Any]:
    """The body for whichever provider it is; for Ollama `keep_alive` and `num_ctx` are understood as well."""
    asked = Asked(model, system, task_type, parameters)
    return _body(known(Provider, provider, "provider"), prompt, asked, stream=stream)


def get_provider_url(
    provider: str, model: str | None = None, *, stream: bool = False, base_url: str | None = None
) -> str:
    """The address of the chat call.

    Args:
        model: stands in Gemini's address only.
        base_url: where the server is; None: the provider's public one, for Ollama this machine. An OpenAI-compatible
            one carries its version: http://127.0.0.1:8000/v1.
    """
    place = known(Provider, provider, "provider")
    return (base_url or public_url(place)).rstrip("/") + _plain_request(place, model, stream=stream).path


def get_provider_headers(
    provider: str, api_key: str | None = None, *, stream: bool = False
) -> dict[str, str]:
    """The headers of the chat call, the key in its place among them; a server without keys is given None."""
    place = known(Provider, provider, "provider")
    return dict(_plain_request(place, api_key=api_key, stream=stream).headers)


def get_anthropic_headers(api_key: str | None = None, *, stream: bool = False) -> dict[str, str]:
    """The headers of a call to Anthropic. Prompt caching needs none of its own."""
    return get_provider_headers(Provider.ANTHROPIC, api_key, stream=stream)


def public_url(provider: Provider) -> str:
    """The base URL that is used when none is given."""
    return str(KINDS[provider.value].base_url)


def call_for(
    provider: Provider, prompt: Prompt | list[str], asked: Asked, endpoint: str = CHAT
) -> tuple[Call, tuple[str, ...]]:
    """The call as the batch engine would make it of a line that says the same, and warnings. Raises UserError."""
    task = known(TaskType, asked.task_type, "task type") if asked.task_type is not None else None
    route = "embeddings" if endpoint == EMBEDDINGS_ENDPOINT else task or DEFAULT_ROUTE
    chosen = model_at(provider, asked.model, route)
    parameters = {name: value for name, value in asked.parameters.items() if value is not None}
    options = _ollama_options(parameters) if provider is Provider.OLLAMA else {}
    body = {**parameters, **_words(prompt, asked.system, endpoint)}
    if task is not None:
        body["task_type"] = task.value
    problem = read_wanted(endpoint, chosen.model, body, builtin_catalog())
    if isinstance(problem, LineProblem):
        raise UserError(problem.message)
    return call_of(endpoint, body, chosen, provider.value, builtin_catalog(), options), chosen.warnings


def _words(prompt: Prompt | list[str], system: str | None, endpoint: str) -> dict[str, Any]:
    if endpoint == EMBEDDINGS_ENDPOINT:
        if system is not None:
            raise UserError("an embedding has no system prompt")
        return {"input": prompt}
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    return {"messages": [{"role": "system", "content": system}, *messages] if system else messages}


def _ollama_options(parameters: dict[str, Any]) -> dict[str, Any]:
    """Ollama's own two, taken out of `parameters`: there is nothing like them in a chat completion."""
    options: dict[str, Any] = {}
    if "keep_alive" in parameters:
        options["keep_alive"] = parameters.pop("keep_alive")
    if "num_ctx" in parameters:
        options["options"] = {"num_ctx": parameters.pop("num_ctx")}
    return options


def _body(provider: Provider, prompt: Prompt, asked: Asked, *, stream: bool) -> dict[str, Any]:
    call, warned = call_for(provider, prompt, asked)
    built = _ADAPTERS[provider].build_request(call, None, stream=stream)
    _warn((*warned, *built.warnings))
    body: dict[str, Any] = orjson.loads(built.request.body)
    return body


def _plain_request(
    provider: Provider, model: str | None = None, *, api_key: str | None = None, stream: bool
) -> HttpRequest:
    """A request for its address and headers: they depend on nothing that is said in it."""
    call, warned = call_for(provider, "Hello", Asked(model=model))
    _warn(warned)
    return _ADAPTERS[provider].build_request(call, api_key, stream=stream).request


def _warn(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        warnings.warn(sentence, UserWarning, stacklevel=4)  # the line that called the public function
