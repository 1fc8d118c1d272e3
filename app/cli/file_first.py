"""Groups whose first word may be a file: `batchwright schedule FILE --cron ...` beside `batchwright schedule ls`."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

FILE = "file"


class FileFirst(TyperGroup):
    """`GROUP FILE` is `GROUP file FILE`; a file that is named like a verb is given as ./ls."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the verb in where none is said."""
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = [FILE, *args]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed
