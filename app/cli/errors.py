"""Errors of the command line, and how every error reads: one line, a place, a way out, an exit code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from app.cli.words import clean, one_line
from workers.core.errors import UserError

OK, SOME_FAILED, WRONG_INPUT, NOT_REACHED, AT_CEILING, OUR_BUG, INTERRUPTED = 0, 1, 2, 3, 4, 70, 130
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class FileProblem:
    """One thing that is wrong with an input file; `line` counts from 1, None means the whole file."""

    file: str
    line: int | None
    field: str | None
    code: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return one_line(": ".join(part for part in (place, self.field, self.message) if part))


class CliError(UserError):
    """What ends a verb: `exit_code` and, where input is wrong, the places.

    `message` is left empty where the problems say it all; `more` counts problems that are not listed; `shown` are
    the lines of problems that a person gets to see.
    """

    def __init__(
        self,
        message: str = "",
        *,
        hint: str | None = None,
        exit_code: int = WRONG_INPUT,
        problems: Sequence[FileProblem] = (),
        more: int = 0,
        shown: int = _SHOWN,
    ) -> None:
        super().__init__(message or (str(problems[0]) if problems else ""), hint=hint)
        self.exit_code = exit_code
        self.problems = tuple(problems)
        self.more = more
        self.shown = shown


def exit_code_of(error: Exception) -> int:
    """Sorted by what the caller can do about it."""
    from app.client.errors import ApiRefused, ApiUnreachable
    from app.client.locate import NoServer
    from app.embedded.errors import StackError

    if isinstance(error, CliError):
        return error.exit_code
    if isinstance(error, (ApiUnreachable, NoServer, StackError)):
        return NOT_REACHED
    if isinstance(error, ApiRefused) and (error.status >= 500 or error.status in (401, 403)):
        return NOT_REACHED
    return WRONG_INPUT


def lines_of(error: Exception) -> list[str]:
    """The error as text for stderr: one line, or one for each of the first problems; fit for a terminal."""
    return [clean(line) for line in _lines(error)]


def _lines(error: Exception) -> list[str]:
    message, hint = _parts(error)
    problems = error.problems if isinstance(error, CliError) else ()
    if not problems:
        return [f"error: {_sentence(message, hint)}"]
    more = error.more if isinstance(error, CliError) else 0
    limit = error.shown if isinstance(error, CliError) else _SHOWN
    groups = _alike(problems)
    shown = [f"error: {first}{_and_more(number - 1)}" for first, number in groups[:limit]]
    hidden = sum(number for _, number in groups[limit:]) + more
    if hidden > 0:
        shown.append(f"       and {hidden:,} more like these")
    if hint and len(shown) == 1:
        return [f"{shown[0]}; {hint}"]
    return [*shown, f"       {hint}"] if hint else shown


def _alike(problems: Sequence[FileProblem]) -> list[tuple[FileProblem, int]]:
    """The first of each kind and how many there are: one wrong model is one thing to mend, not a thousand."""
    counts: dict[tuple[str | None, str], int] = {}
    firsts: list[FileProblem] = []
    for problem in problems:
        kind = (problem.field, problem.message)
        if kind not in counts:
            firsts.append(problem)
        counts[kind] = counts.get(kind, 0) + 1
    return [(first, counts[first.field, first.message]) for first in firsts]


def _and_more(number: int) -> str:
    return f" (and on {number:,} more line{'s' if number > 1 else ''})" if number else ""


def as_json(error: Exception) -> dict[str, Any]:
    """The error for `--json`: the first problem's place beside the message."""
    message, hint = _parts(error)
    found: dict[str, Any] = {"message": one_line(message, 2000), "hint": hint}
    problems = error.problems if isinstance(error, CliError) else ()
    first = problems[0] if problems else FileProblem("", None, None, "", "")
    code = first.code or getattr(error, "code", None)
    found |= {"code": code, "file": first.file or None, "line": first.line, "field": first.field}
    if problems:
        found["message"] = first.message
        found["problems"] = [asdict(problem) for problem in problems]
    return {"error": found}


def _parts(error: Exception) -> tuple[str, str | None]:
    message = getattr(error, "message", None)
    hint = getattr(error, "hint", None)
    if isinstance(message, str):
        return message, hint if isinstance(hint, str) and hint else None
    return str(error) or type(error).__name__, None


def _sentence(message: str, hint: str | None) -> str:
    text = one_line(message, 1000).rstrip(".")
    return f"{text}; {hint}" if hint else text
