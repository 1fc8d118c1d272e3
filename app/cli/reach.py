"""Ask each configured provider for its list of models: is it there, does it take the key, what does it serve?

One GET each, all at once, two seconds at most. Nothing is paid for.
Source: the providers' published API documents, each one's "list models".
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from config.settings import Provider

State = Literal["reachable", "key refused", "no key", "unreachable"]

_PATIENCE_S = 2.0
_MAX_ANSWER_BYTES = 8_000_000
_AT_ONCE = 16
_ANTHROPIC_VERSION = "2023-06-01"
_LIST_PATHS: Mapping[str, str] = {
    "anthropic": "/v1/models?limit=1000",
    "gemini": "/v1beta/models?pageSize=1000",
    "ollama": "/api/tags",
}
_OPENAI_LIST_PATH = "/models"
# Without a key these answer nobody; a server of one's own may.
_WANT_KEYS = ("api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com")


@dataclass(frozen=True, slots=True)
class Reached:
    """What a provider said; `models` are those it lists, None when it lists none that we can read."""

    state: State
    detail: str = ""
    models: frozenset[str] | None = None

    def has(self, model: str) -> bool | None:
        """Whether it lists a model; None when nobody knows. A name without a tag is Ollama's `latest` too."""
        return None if self.models is None else bool({model, f"{model}:latest"} & self.models)


def reach_all(providers: Sequence[Provider]) -> list[Reached]:
    """Each provider's state, in their order."""
    if not providers:
        return []
    with ThreadPoolExecutor(min(len(providers), _AT_ONCE)) as pool:
        return list(pool.map(reach, providers))


def reach(provider: Provider) -> Reached:
    """Ask one provider."""
    import httpx

    from app.client.connection import is_loopback

    host = urlsplit(provider.base_url).hostname or ""
    if provider.api_key is None and host in _WANT_KEYS:
        return Reached("no key", f"set {provider.api_key_env or 'api_key_env'}")
    try:
        with (
            httpx.Client(timeout=_PATIENCE_S, trust_env=not is_loopback(host)) as client,
            client.stream("GET", list_url(provider), headers=_headers(provider)) as answer,
        ):
            status, body = answer.status_code, _read(answer)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Reached("unreachable", _why(error))
    if status in (401, 403):
        return Reached("key refused", f"status {status}")
    if status >= 500:
        return Reached("unreachable", f"status {status}")
    return Reached("reachable", models=_models(body) if status < 300 else None)


def list_url(provider: Provider) -> str:
    """Where a provider lists its models."""
    base = provider.base_url.removesuffix("/v1") if provider.kind == "ollama" else provider.base_url
    return base + _LIST_PATHS.get(provider.kind, _OPENAI_LIST_PATH)


def shown_url(url: str) -> str:
    """An address without the name and password that may stand in it."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _headers(provider: Provider) -> dict[str, str]:
    headers = {"accept": "application/json"}
    if provider.kind == "anthropic":
        headers["anthropic-version"] = _ANTHROPIC_VERSION
    if provider.api_key is not None:
        key = provider.api_key.reveal()
        name = {"anthropic": "x-api-key", "gemini": "x-goog-api-key"}.get(provider.kind, provider.key_header)
        headers[name] = f"Bearer {key}" if name == "authorization" else key
    return {**headers, **provider.headers}


def _read(answer: Any) -> bytes:
    """The body, as far as it comes in time: each wait is bounded by the client, all of them together here."""
    started, body = time.monotonic(), bytearray()
    for part in answer.iter_bytes():
        body += part
        if len(body) > _MAX_ANSWER_BYTES or time.monotonic() - started > _PATIENCE_S:
            return b""
    return bytes(body)


def _models(body: bytes) -> frozenset[str] | None:
    """The names in a list of models, whichever provider's it is."""
    try:
        data = json.loads(body)
    except ValueError:
        return None
    rows = data.get("data", data.get("models")) if isinstance(data, dict) else None
    if not isinstance(rows, list):
        return None
    names = (row.get("id") or row.get("name") for row in rows if isinstance(row, dict))
    return frozenset(name.removeprefix("models/") for name in names if isinstance(name, str))


def _why(error: Exception) -> str:
    import httpx

    if isinstance(error, httpx.TimeoutException):
        return f"no answer in {_PATIENCE_S:g} s"
    return "cannot connect" if isinstance(error, httpx.ConnectError) else type(error).__name__
