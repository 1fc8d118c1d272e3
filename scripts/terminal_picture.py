"""Turn a terminal's screen into an SVG: `tmux capture-pane -e -p | python scripts/terminal_picture.py TITLE > FILE`."""

from __future__ import annotations

import io
import re
import sys

from rich.console import Console
from rich.text import Text

# The picture must not fetch anything: whoever looks at it uses a font of their own.
_REMOTE_FONTS = re.compile(r"@font-face \{.*?\}", re.DOTALL)


def main() -> None:
    """Read ANSI text from stdin, write SVG to stdout."""
    screen = Text.from_ansi(sys.stdin.read().rstrip())
    width = max((line.cell_len for line in screen.split("\n")), default=80)
    console = Console(record=True, width=width + 1, file=io.StringIO(), force_terminal=True)
    console.print(screen)
    sys.stdout.write(_REMOTE_FONTS.sub("", console.export_svg(title=sys.argv[1])))


if __name__ == "__main__":
    main()
