"""The models an Ollama server has, and those it can fetch: names, lists, `show`, and the progress of a pull. Pure.

A name without a tag means `:latest`. Here at once are the simulator's own models; the library that pulls come
from is a list of families with any tag. Shapes: Ollama's published API document, docs/api.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
from blake3 import blake3

from app.simulator.dialect import Terms
from app.simulator.models import CHAT, EMBEDDING, MODELS

VERSION = "0.12.6"
_LATEST = ":latest"
_LIBRARY = frozenset((
    "all-minilm", "bge-m3", "codellama", "deepseek-r1", "embeddinggemma", "gemma2", "gemma3", "gpt-oss",
    "llama3", "llama3.1", "llama3.2", "llama3.2-vision", "llama3.3", "llava", "minicpm-v", "mistral",
    "mistral-nemo", "mixtral", "mxbai-embed-large", "nomic-embed-text", "phi3", "phi4", "qwen2.5", "qwen2.5vl",
    "qwen3", "qwen3-embedding", "smollm2", "tinyllama",
))  # fmt: skip
_EMBEDS = ("embed", "minilm", "bge")
_DAY = "2024-05-01T12:00:00Z"  # a fixed day: lists should not change from call to call
_FOREVER = "2318-05-01T12:00:00Z"
_CONTEXT_TOKENS = 131_072
_PULL_STEPS = 4


def known_name(model: str) -> str:
    """The name that answers are made under: `sim-small:latest` is `sim-small`."""
    return model.removesuffix(_LATEST)


def purpose_of(model: str) -> str:
    """Chat or embedding; a name that tells nothing is a chat model's."""
    name = known_name(model)
    return MODELS.get(name, EMBEDDING if any(part in name for part in _EMBEDS) else CHAT)


def is_here(model: str, terms: Terms) -> bool:
    """Whether this server can answer as this model."""
    name = known_name(model)
    return bool(name) and (name in MODELS or name in terms.pulled or terms.all_models)


def tags(terms: Terms) -> dict[str, Any]:
    """GET /api/tags."""
    return {"models": [_listed(name) for name in _here(terms)]}


def running(terms: Terms) -> dict[str, Any]:
    """GET /api/ps: every model is loaded, and stays."""
    loaded = []
    for name in _here(terms):
        shown = _listed(name)
        del shown["modified_at"]
        held = {"expires_at": _FOREVER, "size_vram": shown["size"], "context_length": _CONTEXT_TOKENS}
        loaded.append({**shown, **held})
    return {"models": loaded}


def shown(model: str) -> dict[str, Any]:
    """POST /api/show."""
    embeds = purpose_of(model) == EMBEDDING
    return {
        "license": "",
        "modelfile": f"# A simulated model: its answers are made up.\nFROM {known_name(model)}\n",
        "parameters": "temperature 0.7",
        "template": "{{ .Prompt }}",
        "details": _details(model),
        "model_info": {
            "general.architecture": "simulator",
            "general.parameter_count": _size_bytes(model),
            "simulator.context_length": _CONTEXT_TOKENS,
        },
        "capabilities": ["embedding"] if embeds else ["completion", "tools", "vision", "thinking"],
        "modified_at": _DAY,
    }


def pulling(model: str, terms: Terms) -> Iterator[dict[str, Any]]:
    """The progress of a pull; whoever reads it to the end has the model.

    A name that the library does not hold ends in an `error`.
    """
    yield {"status": "pulling manifest"}
    name = known_name(model)
    if not (name in MODELS or name.partition(":")[0] in _LIBRARY or terms.all_models):
        yield {"error": "pull model manifest: file does not exist"}
        return
    for part, total in (("weights", _size_bytes(model)), ("template", 1_429)):
        digest = _digest(f"{name} {part}")
        layer = {"status": f"pulling {digest[:12]}", "digest": f"sha256:{digest}", "total": total}
        yield layer
        for k in range(1, _PULL_STEPS + 1):
            yield {**layer, "completed": total * k // _PULL_STEPS}
    yield {"status": "verifying sha256 digest"}
    yield {"status": "writing manifest"}
    terms.pulled.add(name)
    yield {"status": "success"}


def _here(terms: Terms) -> list[str]:
    return [*MODELS, *sorted(terms.pulled - set(MODELS))]


def _listed(name: str) -> dict[str, Any]:
    full = name if ":" in name else name + _LATEST
    return {
        "name": full,
        "model": full,
        "modified_at": _DAY,
        "size": _size_bytes(name),
        "digest": _digest(name),
        "details": _details(name),
    }


def _details(model: str) -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "gguf",
        "family": "simulator",
        "families": ["simulator"],
        "parameter_size": f"{_size_bytes(model) / 1e9:.1f}B",
        "quantization_level": "Q4_K_M",
    }


def _digest(name: str) -> str:
    return blake3(orjson.dumps(name)).hexdigest()


def _size_bytes(model: str) -> int:
    """Made up, and the same for the same name: 1 to 9 GB."""
    return 1_000_000_000 + int(_digest(known_name(model))[:8], 16) * 2
