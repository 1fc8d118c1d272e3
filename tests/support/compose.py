"""docker-compose.yml as compose reads it: variables filled in, anchors followed.

Only the forms that our file uses: `${NAME:-else}`, `${NAME:+then}` and `$$`; another one is an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.yml"
_VARIABLE = re.compile(r"\$\$|\$\{(\w+):([-+])([^}]*)\}|\$")


def compose(environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The whole file with these variables in the environment and no `.env`."""
    found: dict[str, Any] = _filled(yaml.safe_load(FILE.read_text(encoding="utf-8")), environ or {})
    return found


def _filled(value: Any, environ: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(each, environ) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, environ) for each in value]
    return _text(value, environ) if isinstance(value, str) else value


def _text(text: str, environ: Mapping[str, str]) -> str:
    def fill(match: re.Match[str]) -> str:
        if match.group() == "$$":
            return "$"
        if match.group() == "$":
            raise ValueError(f"a form of variable that is not known here: {text}")
        name, form, words = match.groups()
        value = environ.get(name, "")
        return (value or words) if form == "-" else (words if value else "")

    return _VARIABLE.sub(fill, text)


def health(service: Mapping[str, Any]) -> list[str]:
    """The command of a healthcheck, as it is run."""
    kind, *words = service["healthcheck"]["test"]
    return ["/bin/sh", "-c", *words] if kind == "CMD-SHELL" else words


def seconds(text: str) -> float:
    """Compose's `1m30s`, as far as we use it."""
    units = {"s": 1.0, "m": 60.0}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"(\d+)([sm])", text))
