"""An Ollama server's models: which are pulled and how large, which are loaded now, which preferred ones lack. Pure.

app/cli/ollama.py asks the server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.doctor.findings import Finding
from config.prewarm import named_models
from config.settings import Provider

# Whoever asks for no model in particular gets this alias.
_DEFAULT = "fast"


def named_for(provider: Provider) -> list[str]:
    """The models that the settings name for a server."""
    prewarm = provider.prewarm if isinstance(provider.prewarm, tuple) else ()
    return [*named_models(provider), *prewarm]


def of_models(
    provider: str,
    sizes: Mapping[str, int],
    loaded: Mapping[str, int],
    named: Sequence[str],
    aliases: Mapping[str, str],
) -> Finding:
    """What a server has against what is preferred. Pure.

    Args:
        sizes, loaded: bytes by model, on its disk and in its memory.
        named: models that the settings name for it.
    """
    lacking = list(dict.fromkeys(model for model in named if not _has(sizes, model)))
    default = aliases.get(_DEFAULT)
    if default is not None and not _has(sizes, default) and default not in lacking:
        lacking.append(default)
    others = [model for model in aliases.values() if not _has(sizes, model) and model not in lacking]
    data: dict[str, Any] = {
        "pulled": [{"name": name, "bytes": size, "loaded": name in loaded} for name, size in sizes.items()],
        "loaded": [{"name": name, "bytes": size} for name, size in loaded.items()],
        "preferred": {
            alias: {"model": model, "pulled": _has(sizes, model)} for alias, model in aliases.items()
        },
    }
    held = ", ".join(f"{name} ({size / 1e9:.1f} GB)" for name, size in loaded.items()) or "none"
    text = f"{len(sizes)} pulled ({sum(sizes.values()) / 1e9:.1f} GB), loaded now: {held}"
    name = f"{provider} models"
    if lacking:
        text = f"{text}; not pulled, though preferred: {', '.join(lacking)}"
        fix = "; ".join(f"`batchwright models pull {model}`" for model in lacking)
        return Finding(name, "warning", text, fix, data)
    more = f"; of the aliases not pulled: {', '.join(dict.fromkeys(others))}" if others else ""
    return Finding(name, "ok", text + more, data=data)


def _has(sizes: Mapping[str, int], model: str) -> bool:
    return model in sizes or f"{model}:latest" in sizes
