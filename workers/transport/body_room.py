"""Memory for large answers, shared by all calls of one transport: hundreds may be under way in one process.

A call's first part is free; answers of models are a few kilobytes. Beyond that it takes room piece by piece as its body
comes. When all is taken, one call goes on all the same, to its end: calls that hold a part each must not wait for each
other for ever. So at most the room and one whole body are held.
"""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Self

FREE_BYTES = 256 * 1024
PIECE_BYTES = 1024 * 1024
ROOM_BYTES = 32 * 1024 * 1024


class BodyRoom:
    """Belongs to one event loop. Who waits longest comes first."""

    def __init__(self, total_bytes: int = ROOM_BYTES) -> None:
        self._left = total_bytes
        self._waiting: deque[tuple[asyncio.Future[None], Holding]] = deque()
        self._beyond: Holding | None = None

    def holding(self) -> Holding:
        """What one call holds; a context that gives it back."""
        return Holding(self)

    async def take(self, holding: Holding) -> None:
        """One more piece for it, when there is room."""
        if self._beyond is holding or (not self._waiting and self._left >= PIECE_BYTES):
            self._grant(holding)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, holding))
        self._let_in()
        await turn

    def give_back(self, holding: Holding) -> None:
        """Its call is over."""
        self._left += holding.held_bytes - FREE_BYTES
        if self._beyond is holding:
            self._beyond = None
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting:
            turn, holding = self._waiting[0]
            if not turn.done():  # else it was cancelled
                if self._left < PIECE_BYTES:
                    if self._beyond is not None:
                        return
                    self._beyond = holding
                self._grant(holding)
                turn.set_result(None)
            self._waiting.popleft()

    def _grant(self, holding: Holding) -> None:
        self._left -= PIECE_BYTES
        holding.held_bytes += PIECE_BYTES


class Holding:
    """The room of one call's body."""

    __slots__ = ("_room", "held_bytes")

    def __init__(self, room: BodyRoom) -> None:
        self._room, self.held_bytes = room, FREE_BYTES

    def __enter__(self) -> Self:
        """Nothing is held yet."""
        return self

    async def cover(self, size: int) -> None:
        """Wait until there is room for a body of so many bytes."""
        while self.held_bytes < size:
            await self._room.take(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.held_bytes > FREE_BYTES:
            self._room.give_back(self)
