"""docs/reference/errors.md: codes of failed items with what helps, and codes of refused calls, from the code itself."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from app.reference.markdown import code, table
from workers.core.hints import KNOWN_CODES, hint_of

_API = Path(__file__).resolve().parents[1] / "api"
# What makes a refusal, and its status where the call itself does not name one.
_MAKERS = {"ApiError": None, "bad_request": 400, "conflict": 409}
_HEAD = """# Errors

## Failed items

The `code` of an item's error, in the error file and in `batchwright errors BATCH`. `http_STATUS` stands for a
provider's own refusal with that status. `retry` says whether the same request may pass later with nothing changed.
"""
_CALLS = """## Refused calls

Every refusal of the API is `{"error": {"message", "type", "param", "code"}}`. Refusals without a code say all in their
message. A 429 or 503 carries `Retry-After`; `x-should-retry: false` says that no repeat can help.
"""


def page() -> str:
    """The page."""
    hints = {each: hint_of(each, None) for each in KNOWN_CODES}
    items = [(code(each), "yes" if hint.retryable else "no", hint.text) for each, hint in hints.items()]
    calls = sorted(_codes().items())
    return "\n".join(
        [
            _HEAD,
            *table(("code", "retry", "what helps"), items),
            "",
            _CALLS,
            *table(
                ("code", "status"),
                [(code(name), ", ".join(map(str, sorted(found)))) for name, found in calls],
            ),
            "",
        ]
    )


def _codes() -> dict[str, set[int]]:
    """Codes by the statuses they come with, as the API's modules name them."""
    found: dict[str, set[int]] = defaultdict(set)
    for path in sorted(_API.glob("*.py")):
        for name, status in _refusals(ast.parse(path.read_text(encoding="utf-8"))):
            found[name].add(status)
    return found


def _refusals(module: ast.Module) -> Iterator[tuple[str, int]]:
    for call in ast.walk(module):
        if (
            not isinstance(call, ast.Call)
            or not isinstance(call.func, ast.Name)
            or call.func.id not in _MAKERS
        ):
            continue
        status = _MAKERS[call.func.id] or _number(call)
        named = next((word.value for word in call.keywords if word.arg == "code"), None)
        if status is not None and isinstance(named, ast.Constant) and isinstance(named.value, str):
            yield named.value, status


def _number(call: ast.Call) -> int | None:
    first = call.args[0] if call.args else None
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, int) else None
