"""A server's port: taken for good before anything listens on it, and asked until it answers."""

from __future__ import annotations

import asyncio
import errno
import socket


class CannotListen(Exception):
    """The port or address cannot be had; the text says why."""


def held_port(host: str, port: int) -> socket.socket:
    """Bind the port and keep it, so that a free one cannot be taken before Granian listens on it.

    Granian binds with SO_REUSEPORT, by which two servers would share a port in silence: so ask without it.
    Raises CannotListen.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
        held = socket.socket(family, socket.SOCK_STREAM)
        # Connections that just ended linger on the port.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind((host, port))
        return held
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "the port is taken; choose another, or 0 for a free one" if taken else error.strerror
        raise CannotListen(f"cannot listen on {host}:{port}: {why}") from error


def reachable(host: str) -> str:
    """The address by which a server on this machine can be asked that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound


async def until_answering(host: str, port: int, stopping: asyncio.Event) -> None:
    """Return when GET /health answers 200: ready must mean ready."""
    while not stopping.is_set():
        try:
            reader, writer = await asyncio.open_connection(reachable(host), port)
            writer.write(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            answer = await reader.readline()
            writer.close()
            if b" 200 " in answer:
                return
        except OSError:
            pass  # not yet
        await asyncio.sleep(0.01)  # a listener announces itself to nobody; asking again is all there is
