"""stack.json: what a running stack tells everybody who did not start it.

stack.py writes it once all is ready and takes it away before anything stops; clients.py reads it. It holds
the API key and the servers' passwords, so it is private to its user.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from app.embedded import procinfo
from app.embedded.files import read_json, write_private

Kind = Literal["run", "up"]
Say = Callable[[str], None]


def silent(line: str) -> None:
    """A `Say` where nobody listens."""


@dataclass(frozen=True)
class StackState:
    """A stack that is ready.

    `owner_identity` tells its owner from a later process with the same pid; `providers` are the base URLs its
    workers call, by name.
    """

    owner_pid: int
    owner_identity: str
    started_at: float
    kind: Kind
    api_url: str
    api_key: str = field(repr=False)
    flower_url: str | None
    redis_url: str = field(repr=False)
    cache_redis_url: str = field(repr=False)
    mongodb_url: str = field(repr=False)
    sim_url: str | None
    all_models: bool
    pids: Mapping[str, int]
    versions: Mapping[str, str]
    providers: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def alive(self) -> bool:
        return procinfo.is_same(self.owner_pid, self.owner_identity)


def state_path(data_dir: Path) -> Path:
    return data_dir / "stack.json"


def write_state(data_dir: Path, state: StackState) -> None:
    write_private(state_path(data_dir), json.dumps(state.as_dict(), indent=2) + "\n")


def read_state(data_dir: Path) -> StackState | None:
    """The stack running on this data directory, or None; a file whose owner has died counts as none."""
    known = read_json(state_path(data_dir))
    if known is None:
        return None
    try:
        state = StackState(**known)
    except TypeError:  # written by another version of this program
        return None
    return state if state.alive else None
