"""Groups whose first word may be a file: `batchwright schedule FILE --cron ...` beside `batchwright schedule ls`."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

FILE = "file"


class FileFirst(TyperGroup):
    """`GROUP FILE` is `GROUP file FILE`; a file that is named like a verb is given as ./ls."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the verb in where none is said."""
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            self._refuse_misspelt(ctx, args[0])
            args = [FILE, *args]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed

    def _refuse_misspelt(self, ctx: Any, word: str) -> None:
        """A word that is no file and nearly a verb is that verb: nobody asks for a file named `lst`."""
        near = get_close_matches(word, self.commands, n=1)
        if near and not Path(word).exists():
            raise typer.BadParameter(f"No file and no command {word!r}. Did you mean {near[0]!r}?", ctx=ctx)
