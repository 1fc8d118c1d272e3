"""What Ollama can do right now: asked before a run, so that nobody waits in vain for a model."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from app.cli import words

DEFAULT_URL = "http://127.0.0.1:11434"
_PATIENCE_S = 1.0


@dataclass(frozen=True, slots=True)
class Ollama:
    """An Ollama server; `models` are those pulled, None when it does not answer."""

    url: str
    installed: bool
    models: frozenset[str] | None

    @property
    def running(self) -> bool:
        """Whether it answers."""
        return self.models is not None

    def has(self, model: str) -> bool:
        """Whether a model is pulled; a name without a tag means its `latest`."""
        full = model if ":" in model else f"{model}:latest"
        return self.models is not None and full in self.models


def look(url: str = DEFAULT_URL) -> Ollama:
    """Ask a server what it has; waits a second at most."""
    import httpx

    from app.client.connection import is_loopback

    root = url.removesuffix("/v1")
    host = httpx.URL(root).host
    installed = is_loopback(host) and shutil.which("ollama") is not None
    try:
        with httpx.Client(timeout=_PATIENCE_S, trust_env=not is_loopback(host)) as client:
            listed = client.get(f"{root}/api/tags").raise_for_status().json()
        models = frozenset(str(each["name"]) for each in listed["models"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return Ollama(root, installed, None)
    return Ollama(root, installed, models)


def held(url: str) -> tuple[dict[str, int], dict[str, int]] | None:
    """Bytes of its models by name: those on its disk, and those loaded now. None where it does not answer.

    Source: GET /api/tags and GET /api/ps of Ollama's API document. Neither loads anything.
    """
    import httpx

    from app.client.connection import is_loopback

    root = url.removesuffix("/v1")
    try:
        with httpx.Client(timeout=_PATIENCE_S, trust_env=not is_loopback(httpx.URL(root).host)) as client:
            pulled, loaded = (
                {str(each["name"]): int(each.get("size") or 0) for each in answer.json()["models"]}
                for answer in (client.get(f"{root}/api/{path}").raise_for_status() for path in ("tags", "ps"))
            )
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError, AttributeError):
        return None
    return pulled, loaded


def trouble(found: Ollama, model: str) -> tuple[str, str] | None:
    """Why this server cannot answer for a model, and what to do; None when it can."""
    if not found.running:
        return silence(found)
    if not found.has(model):
        return f"the model {model!r} is not pulled in Ollama", f"get it with {pull_offer(model)}"
    return None


def silence(found: Ollama) -> tuple[str, str]:
    """What to say of a server that does not answer, and what to do."""
    if found.installed:
        return "Ollama is installed but not running", "start it with `ollama serve`"
    return f"Ollama does not answer at {found.url}", "start it there, or correct OLLAMA_HOST"


def pull_offer(model: str) -> str:
    """The commands that fetch a model, with the size of the download where it is known."""
    size_bytes = download_bytes(model)
    about = f" (about {words.size(size_bytes)})" if size_bytes else ""
    return f"`batchwright models pull {model}` or `ollama pull {model}`{about}"


def download_bytes(model: str) -> float | None:
    """About how much there is to fetch; None for a model nobody knows."""
    sizes = download_sizes_gb()
    gigabytes = sizes.get(model) or sizes.get(model.removesuffix(":latest"))
    return gigabytes * 1e9 if gigabytes else None


@cache
def download_sizes_gb() -> Mapping[str, float]:
    """Sizes of well-known models from config/models.toml."""
    import config

    path = Path(str(config.__file__)).with_name("models.toml")
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: float(entry["download_gb"]) for name, entry in table["ollama"].items()}
