"""The verb `top`: what goes on at this moment, drawn anew each second until somebody leaves.

A thread asks the server, so that a slow one holds up no key; top_frame.py decides what is seen, top_keys.py hears keys.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from app.cli import report, words
from app.cli.batch_verbs import load
from app.cli.session import ended_by_signals, named_server
from app.cli.top_frame import Sight, View, frame, pressed
from app.cli.top_keys import CTRL_Z, Keys, suspend
from app.client import watching_calls
from app.client.errors import ApiRefused
from workers.core.errors import UserError

if TYPE_CHECKING:
    from app.client.blocking import Client

EVERY_S = 1.0
# A frame of its own must know rates, for which it takes two looks so far apart: shards tell what they did each second.
_APART_S = 1.2
_REDRAW_S = 0.5


def top(*, once: bool, as_json: bool) -> int:
    """Show it; one frame where nobody could see a second one."""
    out = report.console()
    if once or as_json or not out.is_terminal or out.is_dumb_terminal:
        with named_server(load()) as client:
            data = _second_look(client)
            if as_json:
                report.print_json(data)
                return 0
            width = out.width if out.is_terminal else None
            for line in frame(Sight(data, client.place.url), View(), width, None):
                out.print(line, soft_wrap=True)
        return 0
    with ended_by_signals():
        _live()
    return 0


def _second_look(client: Client) -> Mapping[str, Any]:
    first = client.call(watching_calls.top())
    if not first["batches"] or any(each["per_second"] is not None for each in first["batches"]):
        return first
    time.sleep(_APART_S)
    return client.call(watching_calls.top())


class Looker:
    """Asks the server each second on a thread of its own, also after it was away, or came back elsewhere.

    Attributes:
        wake: a file descriptor that can be read when there is something new.
        refused: what ends the view: a key that is not let in, or a server without this call.
    """

    def __init__(self, first: Sight) -> None:
        self.wake, self._bell = os.pipe()
        self.refused: UserError | None = None
        self._last, self._seen_s = first, time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="top", daemon=True)

    def start(self) -> None:
        """Go on looking."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; a call that is under way ends with the process."""
        self._stop.set()

    @property
    def sight(self) -> Sight:
        """The last that was seen, with its age by now."""
        return replace(self._last, age_s=max(0.0, time.monotonic() - self._seen_s - EVERY_S))

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                # A stack that was started again listens elsewhere: the place is looked up anew.
                with named_server(load()) as client:
                    while not self._stop.wait(EVERY_S):
                        self._note(client)
            except UserError as error:
                if isinstance(error, ApiRefused) and error.status < 500:
                    self.refused = error
                    self._stop.set()
                self._trouble(error)
            self._stop.wait(EVERY_S)

    def _note(self, client: Client) -> None:
        data = client.call(watching_calls.top())
        self._seen_s = time.monotonic()
        self._last = Sight(data, client.place.url)
        self._ring()

    def _trouble(self, error: UserError) -> None:
        self._last = replace(self._last, trouble=words.one_line(error.message))
        self._ring()

    def _ring(self) -> None:
        os.write(self._bell, b".")


def _live() -> None:
    # Who has never answered is not being restarted: a wrong address is said at once.
    with named_server(load()) as client:
        looker = Looker(Sight(client.call(watching_calls.top()), client.place.url))
    view: View | None = View()
    looker.start()
    try:
        while view is not None and looker.refused is None:
            view = _on_screen(looker, view)
            if view is not None and looker.refused is None:
                suspend()
    finally:
        looker.stop()
    if looker.refused is not None:
        raise looker.refused


def _on_screen(looker: Looker, view: View) -> View | None:
    """Draw until the looker is refused, or a key leaves (None) or stops the job for a while (what was seen then)."""
    from rich.console import Console, Group
    from rich.live import Live

    out, shown = Console(highlight=False, markup=False, emoji=False), looker.sight
    with Keys(looker.wake) as keys, Live(console=out, screen=True, auto_refresh=False) as live:
        while looker.refused is None:
            if not view.held:
                shown = looker.sight
            live.update(Group(*frame(shown, view, out.width, out.height)), refresh=True)
            for key in keys.wait(_REDRAW_S):
                if key == CTRL_Z:
                    return view
                after = pressed(key, view, len(shown.data["batches"]))
                if after is None:
                    return None
                view = after
    return view
