"""Who in this process waits for whose answer: the process's own map in front of the flights in Redis.

Owners are shards' items; waiters hold no call slot. A waiter is told when its owner has an answer or lets go;
waiters on another process's flight are told over Redis, and look again every two seconds in any case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from workers.core.messages import Result
from workers.engine.work import Work

# Told with the owner's result when it can be shared, with None when the waiter has to look for itself.
Waiter = Callable[[Result | None], None]


@dataclass(slots=True)
class _Shared:
    waiters: list[Waiter] = field(default_factory=list)


class Sharing:
    """Keys are flight keys (tenant and fingerprint)."""

    def __init__(self) -> None:
        self._own: dict[str, _Shared] = {}
        self._remote: dict[str, list[Waiter]] = {}
        # Keys that Redis is being asked for, and whether their flights have ended meanwhile: the channel may be
        # quicker than the answer, and a wake-up before the waiting would be heard by nobody.
        self._asking: dict[str, bool] = {}

    @property
    def owned(self) -> int:
        """Questions that this process asks once for all its items."""
        return len(self._own)

    def try_own(self, key: str) -> bool:
        """Become the process's one asker for this key; False if another item is."""
        if key in self._own:
            return False
        self._own[key] = _Shared()
        return True

    def wait_local(self, key: str, waiter: Waiter) -> None:
        """Be told when the process's asker is done."""
        self._own[key].waiters.append(waiter)

    def answered(self, key: str, result: Result) -> None:
        """The asker has a result that others may share."""
        self._tell(key, result)

    def let_go(self, key: str) -> None:
        """The asker gives up without an answer to share; everyone looks for themselves."""
        self._tell(key, None)

    @contextmanager
    def asking(self, keys: Iterable[str]) -> Iterator[None]:
        """While other processes' flights are asked for: an end that is heard now counts for who waits in here."""
        asked = list(keys)
        self._asking.update(dict.fromkeys(asked, False))
        try:
            yield
        finally:
            for key in asked:
                self._asking.pop(key, None)

    def wait_remote(self, key: str, waiter: Waiter) -> None:
        """Be told when another process's flight ends."""
        if self._asking.get(key):
            waiter(None)
        else:
            self._remote.setdefault(key, []).append(waiter)

    def flight_ended(self, key: str) -> None:
        """Another process says that this flight has ended."""
        if key in self._asking:
            self._asking[key] = True
        for waiter in self._remote.pop(key, ()):
            waiter(None)

    def forget_remote(self, key: str, waiter: Waiter) -> bool:
        """The waiter looks by itself from now on. False if it does not wait for another process."""
        waiters = self._remote.get(key)
        if not waiters or waiter not in waiters:
            return False
        waiters.remove(waiter)
        if not waiters:
            del self._remote[key]
        return True

    def _tell(self, key: str, result: Result | None) -> None:
        shared = self._own.pop(key, None)
        for waiter in shared.waiters if shared else ():
            waiter(result)


# Refusals that say something of the moment or of the key, not of the request.
_NOT_TERMINAL = (401, 403, 408, 409, 425, 429)


def may_share(result: Result) -> bool:
    """Whether another item that asks the same may have this result: answers and final refusals, never 429 or 5xx."""
    status = result.status_code
    return status is not None and (status < 400 or (400 <= status < 500 and status not in _NOT_TERMINAL))


def shared_copy(work: Work, result: Result) -> Result:
    """The result for an item that waited: nothing was called or paid for it but what it had spent before."""
    return Result(
        line=work.item.line,
        custom_id=work.custom_id,
        source="coalesced",
        status_code=result.status_code,
        body=result.body,
        error=result.error,
        request_id=result.request_id,
        model=result.model,
        usage=work.spent + result.usage,
        calls=work.calls,
        excess=work.excess,
        asks_again=work.asks_again,
        cost_usd=work.spent_usd,
        # What its owner paid for it, or saved in its turn.
        saved_usd=result.cost_usd if result.source == "call" else result.saved_usd,
        warnings=tuple(dict.fromkeys(work.warnings + result.warnings)),
        attempts=work.attempts,
        waited_s=work.waited_s,
    )
