"""How far a pull is: read from Ollama's lines, said in one line, drawn as a bar.

    {"status": "pulling manifest"}
    {"status": "pulling 6a0746a1ec1a", "digest": "sha256:6a07...", "total": 4661211424, "completed": 241970}
    {"status": "verifying sha256 digest"} ... {"status": "success"}

A model is several layers, each with its own lines; they are summed. What was there before counts as done, but not
for the rate.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from app.cli import words
from app.cli.progress import plain_interval_s
from workers.core.pace import Pace

if TYPE_CHECKING:
    from rich.console import Console

_NAME_WIDTH = 28
_SUCCESS = "success"


class Progress:
    """One model on its way.

    Attributes:
        expected: about how many bytes it has, before Ollama says so; None: unknown.
        total, completed: bytes of the layers that are known so far; `fetched` of them arrived in this pull.
        silent: Ollama has not said a word yet.
    """

    def __init__(self, model: str, expected: float | None = None) -> None:
        self.model = model
        self.expected = expected
        self.status = "asking Ollama"
        self.silent = True
        self.total = self.completed = self.fetched = 0
        self._layers: dict[str, tuple[int, int, int]] = {}
        self._begun_s = time.monotonic()
        self._pace = Pace()

    def read(self, line: Mapping[str, Any]) -> None:
        """Take in one line; what is no count in it is left out."""
        self.silent = False
        total, digest = line.get("total"), line.get("digest")
        if digest is None:  # a layer's own line says only its name, which tells a person nothing
            self.status = words.one_line(str(line.get("status") or self.status), 80)
        elif isinstance(total, int) and isinstance(digest, str):
            completed = line.get("completed")
            completed = completed if isinstance(completed, int) else 0
            first = self._layers[digest][0] if digest in self._layers else completed
            self._layers[digest] = (first, completed, total)
            self.total = sum(each[2] for each in self._layers.values())
            self.completed = sum(each[1] for each in self._layers.values())
            self.fetched = sum(max(0, each[1] - each[0]) for each in self._layers.values())
            self._pace.look(time.monotonic(), self.fetched)

    @property
    def done(self) -> bool:
        """Whether the model is there."""
        return self.status == _SUCCESS

    @property
    def loading(self) -> bool:
        """Whether bytes are on their way, rather than sums being checked."""
        return 0 < self.completed < self.total

    @property
    def elapsed_s(self) -> float:
        """Seconds since the question."""
        return time.monotonic() - self._begun_s

    @property
    def size(self) -> str:
        """How much of how much."""
        if not self.total:
            return f"about {words.size(self.expected)}" if self.expected else ""
        if self.done or self.completed >= self.total:
            return words.size(self.total)
        return f"{words.size(self.completed)} of {words.size(self.total)}"

    @property
    def facts(self) -> str:
        """What there is to say beside the bar."""
        if self.done:
            return f"{self.size}, {'pulled' if self.fetched else 'there already'}"
        if not self.loading:
            return ", ".join(part for part in (self.status, self.size) if part)
        rate = self._pace.per_second
        if rate <= 0:
            return self.size
        left = words.duration((self.total - self.completed) / rate)
        return f"{self.size}, {words.size(rate)}/s, {left} left"


class Display(Protocol):
    """Where progress goes."""

    def update(self, progress: Progress) -> None:
        """Show this from now on."""
        ...

    def end(self, progress: Progress) -> None:
        """Show the end."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def display() -> Display:
    """What fits stderr as it is."""
    return Bar() if sys.stderr.isatty() else Lines()


class Lines:
    """For logs and pipes: a line for every step, and now and then one for the bytes."""

    def __init__(self) -> None:
        self._bytes_said_at_s = float("-inf")
        self._step = ""

    def update(self, progress: Progress) -> None:
        now_s = time.monotonic()
        if progress.loading and now_s - self._bytes_said_at_s >= plain_interval_s(progress.elapsed_s):
            self._bytes_said_at_s = now_s
            self._say(progress)
        elif progress.status != self._step and not progress.done:
            self._say(progress)
        self._step = progress.status

    def end(self, progress: Progress) -> None:
        if progress.done:
            self._say(progress)

    def _say(self, progress: Progress) -> None:
        print(f"{progress.model}: {progress.facts}", file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Every line stands by itself."""


class Bar:
    """For a terminal: a bar that grows in place, and stays when it is full."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        self._rich = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(complete_style="cyan", finished_style="green"),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[facts]}", markup=False, style="dim"),
            console=console or Console(stderr=True, highlight=False),
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._rich.add_task("", total=None, facts="")

    def update(self, progress: Progress) -> None:
        self._rich.update(
            self._task,
            description=words.shortened(progress.model, _NAME_WIDTH),
            total=progress.total or None,
            completed=progress.completed,
            facts=progress.facts,
        )

    def end(self, progress: Progress) -> None:
        self.update(progress)
        # A model that has not even begun leaves no bar: the error says it all.
        self._rich.live.transient = progress.silent

    def __enter__(self) -> Self:
        self._rich.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._rich.stop()
