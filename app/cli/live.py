"""Show a `View` while it changes, on stderr: a live picture on a terminal, a line a second elsewhere.

The numbers and words are progress.py's; nothing is decided here but when to draw.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from app.cli import progress, words
from app.cli.progress import Row, View

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_REDRAWS_PER_SECOND = 8
_ROWS_BESIDE_BATCHES = 6
_NAME_WIDTH = 28


class Display(Protocol):
    """Where progress goes."""

    def note(self, text: str) -> None:
        """Say something that stays."""
        ...

    def stage(self, text: str) -> None:
        """Say what is being done now; the next stage or view takes its place."""
        ...

    def detail(self, text: str) -> None:
        """A step of the stage, worth showing only where it is written over."""
        ...

    def update(self, view: View) -> None:
        """Show this from now on."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def display() -> Display:
    """What fits stderr as it is."""
    return TerminalDisplay() if sys.stderr.isatty() else PlainDisplay()


class Steps:
    """What a stack says: steps while it starts, and later crashes that a person should see."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self.started = False

    def __call__(self, line: str) -> None:
        (self._display.note if self.started else self._display.detail)(line)


class PlainDisplay:
    """Lines for logs and pipes, about one a second while something changes."""

    def __init__(self) -> None:
        self._said_at_s = float("-inf")
        self._said: View | None = None
        self._last: View | None = None

    def note(self, text: str) -> None:
        print(words.clean(text), file=sys.stderr, flush=True)

    def stage(self, text: str) -> None:
        self.note(text)

    def detail(self, text: str) -> None:
        """Nothing: a log wants the result."""

    def update(self, view: View) -> None:
        self._last = view
        changed = self._said is None or (view.rows, view.waiting) != (self._said.rows, self._said.waiting)
        # What stands still is said as well, only seldom: a silent log looks like a hanging one.
        interval_s = progress.plain_interval_s(view.elapsed_s) * (1 if changed else 15)
        if time.monotonic() - self._said_at_s >= interval_s:
            self._say(view)

    def _say(self, view: View) -> None:
        self._said, self._said_at_s = view, time.monotonic()
        self.note(progress.plain_line(view))
        for text in view.waiting:
            self.note(f"waiting: {text}")

    def __enter__(self) -> Self:
        self._last = self._said = None  # it may be entered again, after a question
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._last is not None and self._last is not self._said:
            self._say(self._last)


class TerminalDisplay:
    """A picture that redraws itself in place."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.spinner import Spinner

        self._console = console or Console(stderr=True, highlight=False)
        self._stage = self._detail = ""
        self._view: View | None = None
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(
            get_renderable=self._picture,
            console=self._console,
            refresh_per_second=_REDRAWS_PER_SECOND,
            # What others print meanwhile must stand above the picture, whole; --json's line is ours and last.
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def note(self, text: str) -> None:
        self._console.print(words.clean(text), markup=False, soft_wrap=True)

    def stage(self, text: str) -> None:
        self._stage, self._view = words.clean(text), None

    def detail(self, text: str) -> None:
        self._detail = words.clean(text)

    def update(self, view: View) -> None:
        self._view = view

    def __enter__(self) -> Self:
        self._view = None  # it may be entered again, after a question
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A stage that is over says nothing any more; the last view is worth keeping.
        self._stage = ""
        self._live.transient = self._view is None
        self._live.stop()

    def _picture(self) -> RenderableType:
        from rich.text import Text

        if self._view is not None:
            return picture(self._view, self._console.height)
        if not self._stage:
            return Text("")
        words_now = Text(self._stage)
        words_now.append(f"  {self._detail}", style="dim")
        self._spinner.update(text=words_now)
        return self._spinner


def picture(view: View, height: int) -> RenderableType:
    """A bar for each batch that fits, one for all of them, and what there is to say."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(no_wrap=True)
    shown = shown_rows(view.rows, max(1, height - _ROWS_BESIDE_BATCHES))
    for row in shown:
        grid.add_row(*_bar_cells(row))
    if len(shown) < len(view.rows):
        grid.add_row(Text(f"and {len(view.rows) - len(shown)} more", style="dim"), "", "", "")
    if len(view.rows) > 1:
        grid.add_row(*_bar_cells(view.total, style="bold"))
    parts = [*progress.facts(view.total), *progress.tail(view)]
    lines: list[RenderableType] = [grid, _facts_text(view.total, parts)]
    lines += [Text(f"waiting: {text}", style="yellow") for text in view.waiting]
    return Group(*lines)


def shown_rows(rows: tuple[Row, ...], limit: int) -> list[Row]:
    """Those that move come first when not all fit; the order stays."""
    if len(rows) <= limit:
        return list(rows)
    ranked = sorted(range(len(rows)), key=lambda at: (rows[at].status != "in_progress", at))
    return [rows[at] for at in sorted(ranked[:limit])]


def _bar_cells(row: Row, style: str = "") -> tuple[RenderableType, ...]:
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    pulse = row.status == "validating"
    bar = ProgressBar(
        total=max(1, row.total),
        completed=row.done if row.total else row.share,
        pulse=pulse,
        complete_style="red" if row.failed else "cyan",
        finished_style="red" if row.failed or row.status != "completed" else "green",
    )
    counts = f"{words.count(row.done)}/{words.count(row.total)}" if row.total else ""
    state = f"{row.share * 100:3.0f} %" if row.status == "in_progress" and not row.paused else ""
    state = state or progress.state_word(row)
    name = words.shortened(words.clean(row.name), _NAME_WIDTH)
    return (Text(name, style=style), bar, Text(counts), Text(state))


def _facts_text(row: Row, parts: list[str]) -> RenderableType:
    from rich.text import Text

    text = Text(" · ".join(parts), style="dim")
    if row.failed:
        text.stylize("not dim red", 0, len(parts[0]))
    return text
