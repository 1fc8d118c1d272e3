"""MongoDB: does it answer, how fast, in which version, and is it a replica set that has a primary?

The commands `hello`, `ping` and `buildInfo` of MongoDB's manual; none needs a right on any database.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Any

import pymongo
from pymongo.errors import (
    ConfigurationError,
    InvalidURI,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from app.doctor.findings import Finding
from app.doctor.measures import RoundTrip, Timing, address, clock_offset_s, ping_often
from app.embedded.binaries import OLDEST_MONGOD
from workers.store.mongo import Doc, connect

NAME = "mongodb"
_SETTING = "BATCHWRIGHT_MONGODB_URL"
_PATIENCE_S = 3.0
_SLOW_MS = 10.0
_REFUSED = (13, 18)  # Unauthorized, AuthenticationFailed: MongoDB's error codes


def check_mongodb(url: str) -> Sequence[Finding]:
    """Ask it."""
    try:
        where = address(url)
        with connect(url, app_name="batchwright-doctor", min_pool=0) as client:
            return _asked(client, where)
    except (InvalidURI, ConfigurationError, ValueError):
        return [Finding(NAME, "problem", "its address cannot be understood", f"correct {_SETTING}")]
    except OperationFailure as error:
        said = "refuses our name or password" if error.code in _REFUSED else f"refuses (code {error.code})"
        return [Finding(NAME, "problem", f"{where} {said}", f"correct {_SETTING}")]
    except PyMongoError as error:
        text = f"{where} does not answer ({type(error).__name__})"
        return [Finding(NAME, "problem", text, f"start it, or correct {_SETTING}")]


def _asked(client: pymongo.MongoClient[Doc], where: str) -> Sequence[Finding]:
    hello: Doc = {}

    def server_time() -> float:
        hello.update(client.admin.command("hello"))
        return float(hello["localTime"].replace(tzinfo=UTC).timestamp())  # it comes without its zone

    try:
        with pymongo.timeout(_PATIENCE_S):
            client.admin.command("ping")  # opens the connection, which would count as a wrong clock
            offset_s = clock_offset_s(server_time)
            version = str(client.admin.command("buildInfo")["version"])
    except ServerSelectionTimeoutError:
        servers = client.topology_description.server_descriptions().values()
        if found := no_primary(where, [each.is_server_type_known for each in servers]):
            return [found]
        raise
    data = {"address": where, "version": version, "clock_offset_s": offset_s}
    return [_answers(data), replica_set(hello)]


def no_primary(where: str, known: Sequence[bool]) -> Finding | None:
    """Why there is none, by whether each server that the driver still looks at has answered; None where none has.

    One that answers and is of another set than the address names, or of none, is looked at no longer.
    """
    if not known:
        text = f"{where} answers, but is not of the replica set that its address names"
        return Finding(
            NAME, "problem", text, f"correct replicaSet in {_SETTING}: rs.status().set is its name"
        )
    if any(known):
        text = f"{where} answers, but its replica set has no primary"
        return Finding(NAME, "problem", text, "start the missing members, or wait for the election")
    return None


def mongodb_timing(url: str) -> Timing:
    """A hundred times `ping`, at the primary."""

    def measure() -> RoundTrip:
        with connect(url, app_name="batchwright-doctor", min_pool=0) as client:
            return ping_often(lambda: client.admin.command("ping"))

    return Timing(measure, _SLOW_MS)


def _answers(data: dict[str, Any]) -> Finding:
    text = f"MongoDB {data['version']} answers"
    if tuple(map(int, data["version"].split(".")[:2])) < OLDEST_MONGOD:
        oldest = ".".join(map(str, OLDEST_MONGOD))
        return Finding(NAME, "problem", f"{text}; it is too old", f"run version {oldest} or newer", data)
    return Finding(NAME, "ok", text, data=data)


def replica_set(hello: Doc) -> Finding:
    """What `hello` says of the set: one is needed, for majority writes and transactions, and one member is enough."""
    name = f"{NAME} replica set"
    data = {
        "set": hello.get("setName"),
        "primary": hello.get("primary"),
        "members": len(hello.get("hosts", ())),
        "writable": bool(hello.get("isWritablePrimary")),
    }
    if hello.get("msg") == "isdbgrid":
        return Finding(name, "ok", "a sharded cluster, whose shards are replica sets", data=data)
    if not data["set"]:
        fix = "start mongod with --replSet rs0 and run rs.initiate() once; one member is enough"
        return Finding(name, "problem", "it is no replica set, which transactions need", fix, data)
    if not data["writable"]:
        fix = "add ?replicaSet= to the address, so that the primary is found"
        return Finding(name, "problem", f"{data['set']}: the member asked is not the primary", fix, data)
    members = "1 member" if data["members"] == 1 else f"{data['members']} members"
    return Finding(name, "ok", f"{data['set']}, {members}, its primary takes writes", data=data)
