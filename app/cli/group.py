"""The outermost layer of the command line: whatever a verb raises becomes lines on stderr and an exit code.

Nobody sees a traceback unless they ask for one with --debug, which is understood at any place.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from app.cli import errors, words

# typer carries its own click since 0.2x and does not export the root of its errors; its BadParameter is one.
_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[2]


class Group(TyperGroup):
    """typer's group with our endings."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Run one verb and leave."""
        given = list(sys.argv[1:] if args is None else args)
        words, debug = without_debug(given)
        if words[:1] == ["help"]:
            words = [*words[1:], "--help"]
        wants_json = "--json" in words
        try:
            code = super().main(
                words, prog_name or "batchwright", complete_var, False, windows_expand_args, **extra
            )
        except Exception as error:  # noqa: BLE001  the last place where anything can be made readable
            code = show(error, wants_json=wants_json, debug=debug)
        except KeyboardInterrupt:
            code = errors.INTERRUPTED
        sys.exit(flushed(code if isinstance(code, int) else errors.OK))


def without_debug(args: Sequence[str]) -> tuple[list[str], bool]:
    """Take `--debug` out wherever it stands: people put it behind the command that has just failed."""
    end = args.index("--") if "--" in args else len(args)
    kept = [word for word in args[:end] if word != "--debug"]
    return [*kept, *args[end:]], len(kept) < end


def show(error: Exception, *, wants_json: bool, debug: bool) -> int:
    """Print an error; gives the exit code."""
    if isinstance(error, BrokenPipeError):
        return errors.SOME_FAILED  # whoever read our output has gone
    if isinstance(error, typer.Abort):
        return errors.INTERRUPTED
    if debug:
        import traceback

        traceback.print_exception(error)
    shown: Exception
    if isinstance(error, _USAGE_ERROR):
        code, shown = errors.WRONG_INPUT, _usage(error)
    elif is_expected(error):
        code, shown = errors.exit_code_of(error), error
    else:
        code, shown = errors.OUR_BUG, _bug(error)
    if wants_json:
        print(words.json_line(errors.as_json(shown)))
    for line in errors.lines_of(shown):
        print(line, file=sys.stderr)
    return code


def is_expected(error: Exception) -> bool:
    """Whether the error was raised on purpose, with words for a person."""
    from app.embedded.errors import StackError
    from config.errors import SettingsError
    from workers.core.errors import BatchwrightError

    return isinstance(error, (BatchwrightError, StackError, SettingsError))


def flushed(code: int) -> int:
    """Let stdout fail here, silently, rather than while Python ends, with a traceback."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return code


def _usage(error: Any) -> errors.CliError:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "batchwright"
    # typer checks some values by pydantic, whose own prefix says nothing to a person.
    message = error.format_message().replace(": Value error, ", ": ").rstrip(".")
    return errors.CliError(message, hint=f"see `{path} --help`")


def _bug(error: Exception) -> errors.CliError:
    return errors.CliError(
        f"this is a bug in Batchwright: {type(error).__name__}: {error}",
        hint="run the command again with --debug for the traceback, and report it",
        exit_code=errors.OUR_BUG,
    )
