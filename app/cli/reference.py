"""Write docs/cli.md from the commands themselves: `python -m app.cli.reference > docs/cli.md`. A test holds it true."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any

import typer.main
from typer.core import TyperGroup, TyperOption

INTRODUCTION = """# Command line

Every verb takes `--json` (one line on stdout; for several files, and for `logs`, one line for each result; progress
and messages go to stderr) and `--debug` (tracebacks).

| exit code | meaning |
|---|---|
| 0 | all went well; Ctrl-C is the way to end `up` and `sim`, so that is 0 as well |
| 1 | some items failed; the rest is answered |
| 2 | the command or its input is wrong; the message says where and what to do |
| 3 | a server, the stack or a provider could not be started or reached |
| 4 | the batch rests at its money ceiling; the same command with a higher one goes on |
| 130 | stopped by Ctrl-C; the same command goes on |
| 70 | a bug of ours |

`run` uses the server that `BATCHWRIGHT_API_URL` and `BATCHWRIGHT_API_KEY` name, if they are set; else the stack of its
data directory (`BATCHWRIGHT_DATA_DIR`, default `.batchwright`) if one is up; else it starts one for as long as it
needs it. The verbs that follow a batch speak to that server, or to that stack.
A key that is set without a URL goes to the stack, in place of the stack's own.

`batchwright help [VERB]` is `--help`, and `--version` is `version`.
"""


def reference() -> str:
    """The page, as Markdown."""
    from app.cli.main import app

    group = typer.main.get_command(app)
    if not isinstance(group, TyperGroup):
        raise TypeError(f"expected a group of commands, got {group!r}")
    sections = [_section(name, command) for name, command in _commands(group)]
    return "\n".join([INTRODUCTION, *sections])


def _commands(group: TyperGroup, before: str = "") -> Iterator[tuple[str, Any]]:
    """Every command by its whole name, a group before those in it."""
    for name, command in group.commands.items():
        yield f"{before}{name}", command
        if isinstance(command, TyperGroup):
            yield from _commands(command, f"{before}{name} ")


def _section(name: str, command: Any) -> str:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    usage = " ".join([f"batchwright {name}", *(_usage(each) for each in arguments), "[options]"])
    lines = [f"## {name}", "", f"    {usage}", "", inspect.cleandoc(command.help or ""), ""]
    options = [each for each in command.params if isinstance(each, TyperOption) and not each.hidden]
    if options:
        lines += ["| option | meaning |", "|---|---|", *(_row(each) for each in options), ""]
    return "\n".join(lines)


def _usage(argument: Any) -> str:
    name = argument.metavar or (argument.name or "").upper()
    name = name.strip("{}[]").removesuffix("...")
    shown = f"{name}..." if argument.nargs == -1 else name
    return shown if argument.required else f"[{shown}]"


def _row(option: TyperOption) -> str:
    flags = ", ".join(f"`{flag}`" for flag in option.opts)
    value = f" {option.metavar}" if option.metavar and not option.is_flag else ""
    return f"| {flags}{value} | {option.help or ''} |"


if __name__ == "__main__":
    sys.stdout.write(reference())
