"""Ask a starting process whether it can be used. Each probe is data, and one short question when called.

supervisor.py calls them until they say True or the process ends. A probe never waits longer than a second and
never raises for a process that is merely not there yet. Imports stay light: `run` pays for them.
"""

import http.client
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

Probe = Callable[[], bool]
_QUESTION_LIMIT_S = 1.0
_USUAL_PORTS = {
    "redis": 6379,
    "rediss": 6379,
    "valkey": 6379,
    "mongodb": 27017,
    "amqp": 5672,
    "amqps": 5671,
}


@dataclass(frozen=True)
class ReadyFile:
    """Ready when the process has made this file."""

    path: Path

    def __call__(self) -> bool:
        return self.path.exists()


@dataclass(frozen=True)
class HttpAnswers:
    """Ready when a GET is answered with 200."""

    url: str

    def __call__(self) -> bool:
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=_QUESTION_LIMIT_S)
        try:
            connection.request("GET", parts.path or "/")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


@dataclass(frozen=True)
class Listens:
    """Ready when the port accepts a connection."""

    port: int

    def __call__(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=_QUESTION_LIMIT_S).close()
        except OSError:
            return False
        return True


@dataclass(frozen=True)
class RedisAnswers:
    """Ready when PING is answered, which a server still loading its file refuses.

    The password also tells our server from another one that came first on this port.
    """

    port: int
    password: str = field(repr=False)

    def __call__(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=_QUESTION_LIMIT_S) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                with connection.makefile("rb") as answer:
                    return answer.readline() == b"+OK\r\n" and answer.readline() == b"+PONG\r\n"
        except OSError:
            return False


def reachable(url: str, limit_s: float = 3.0) -> bool:
    """Whether the first host of a server's URL accepts connections; True where a plain look cannot tell.

    `mongodb+srv`, Sentinel and socket URLs name no host and port to connect to, so their clients have to say.
    """
    scheme, _, rest = url.partition("://")
    usual_port = _USUAL_PORTS.get(scheme)
    if usual_port is None:
        return True
    host_list = rest.partition("/")[0].rpartition("@")[2]
    first = urlsplit(f"//{host_list.split(',')[0]}")
    try:
        socket.create_connection((first.hostname or "127.0.0.1", first.port or usual_port), limit_s).close()
    except (OSError, ValueError):
        return False
    return True
