"""Make one mongod a replica set of one, whatever state its data directory is in.

servers.py calls it at every start. Transactions, change streams and `w: majority` need a replica set; one
member gives them all. Knows nothing of processes or settings.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from app.embedded.errors import StackError

if TYPE_CHECKING:
    from pymongo import MongoClient

SET_NAME = "batchwright"
_ASK_INTERVAL_S = 0.02


def become_primary(port: int, *, limit_s: float, cancel: threading.Event | None = None) -> None:
    """Bring the mongod on this port to accept writes.

    A new directory is initiated; one that was last served on another port gets its member's address corrected
    by force, since a lone member that does not find itself in its configuration never votes.

    Raises: StackError if it does not accept writes in time.
    """
    give_up = cancel or threading.Event()
    deadline = time.monotonic() + limit_s
    address = f"127.0.0.1:{port}"
    with _client(port) as client:
        config = _stored_config(client)
        if config is None:
            member = {"_id": 0, "host": address}
            _command(client, {"replSetInitiate": {"_id": SET_NAME, "members": [member]}})
        elif config["_id"] != SET_NAME:
            raise StackError(
                f"the MongoDB data belongs to the replica set {config['_id']!r}",
                "set BATCHWRIGHT_DATA_DIR to another directory",
            )
        elif [member["host"] for member in config["members"]] != [address]:
            config["members"] = [{**config["members"][0], "host": address}]
            config["version"] += 1
            _command(client, {"replSetReconfig": config, "force": True})
    # The old client keeps the view it had before the set existed; a new one sees it as it is.
    with _client(port) as client:
        while not client.admin.command("hello").get("isWritablePrimary"):
            if time.monotonic() >= deadline:
                raise StackError(f"MongoDB on port {port} accepts no writes after {limit_s:.0f} s")
            # The election is announced to nobody outside the set; asking is the way the manual gives.
            if give_up.wait(_ASK_INTERVAL_S):
                raise StackError("the start of mongod was broken off")


def _client(port: int) -> MongoClient[dict[str, Any]]:
    from pymongo import MongoClient  # a quarter of a second; loaded while mongod starts

    return MongoClient("127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=5000)


def _stored_config(client: MongoClient[dict[str, Any]]) -> dict[str, Any] | None:
    """The configuration on disk; readable also while the member refuses it."""
    return client["local"]["system.replset"].find_one()


def _command(client: MongoClient[dict[str, Any]], command: dict[str, Any]) -> None:
    from pymongo.errors import OperationFailure, PyMongoError

    try:
        client.admin.command(command)
    except OperationFailure as error:
        if error.code != 23:  # AlreadyInitialized: an earlier start got this far and then died
            raise StackError(f"MongoDB refused {next(iter(command))} ({error.details or error})") from None
    except PyMongoError as error:
        raise StackError(f"MongoDB did not answer {next(iter(command))} ({error})") from None
