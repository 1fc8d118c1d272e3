"""Three mongods as one replica set, in place of the one that stands alone; every member can be killed and come back.

Elections are as scaled as the leases: a member is missed after two seconds, where MongoDB waits ten.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from app.embedded.binaries import find_mongod
from app.embedded.ports import PortClaims, PortWish
from app.embedded.replica_set import SET_NAME
from app.embedded.servers import mongod_spec
from tests.chaos.servers import MONGOD, Servers
from tests.support.eventually import eventually
from workers.store.mongo import Doc

_ELECTION_MS, _HEARTBEAT_MS = 2000, 500


class Replicas(Servers):
    """The servers of one directory, with a mongod for each of several members: `mongod-1`, `mongod-2` and so on."""

    def __init__(self, directory: Path, members: int) -> None:
        super().__init__(directory)
        self.members = {f"{MONGOD}-{number}": 0 for number in range(1, members + 1)}

    def primary(self) -> str | None:
        """The name of the member that takes writes now; None while there is none."""
        for name, port in self.members.items():
            hello = self._ask(port, "hello")
            if hello and hello.get("isWritablePrimary"):
                return name
        return None

    def new_primary(self, was: str | None, within_s: float = 30.0) -> str:
        """Wait until another member than that takes writes, and give its name."""

        def other() -> str | None:
            now = self.primary()
            return now if now != was else None

        return str(eventually(other, within_s, what=lambda: f"{was} was primary"))

    def step_down(self, seconds: int = 5) -> str:
        """Make the primary give up its place for so long, whether or not another is ready; gives the new one."""
        was = self.new_primary(None)
        command = {"replSetStepDown": seconds, "secondaryCatchUpPeriodSecs": 1, "force": True}
        self._ask(self.members[was], command)
        return self.new_primary(was)

    def _start_mongod(self, claims: PortClaims) -> None:
        binary = find_mongod(self.directory)
        for name in self.members:
            port = self.members[name] = claims.choose(PortWish(name))
            spec = mongod_spec(binary, self.directory / name, port)
            self.start(replace(spec, name=name))
        hosts = [f"127.0.0.1:{port}" for port in self.members.values()]
        config = {
            "_id": SET_NAME,
            "members": [{"_id": number, "host": host} for number, host in enumerate(hosts)],
            "settings": {"electionTimeoutMillis": _ELECTION_MS, "heartbeatIntervalMillis": _HEARTBEAT_MS},
        }
        self._ask(self.members[f"{MONGOD}-1"], {"replSetInitiate": config})
        self.new_primary(None)
        self.urls[MONGOD] = f"mongodb://{','.join(hosts)}/?replicaSet={SET_NAME}"

    def _ask(self, port: int, command: str | Doc) -> Doc | None:
        """What a member itself says; None if it does not answer."""
        with MongoClient[Doc](
            "127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=1000, socketTimeoutMS=20_000
        ) as client:
            try:
                return client.admin.command(command)
            except PyMongoError:
                return None


def servers_of(directory: Path, members: int) -> Servers:
    """The servers with a mongod alone, or with so many."""
    return Servers(directory) if members == 1 else Replicas(directory, members)
