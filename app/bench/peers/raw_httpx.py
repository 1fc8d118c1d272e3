"""The limit of httpx over HTTP/2: a bare loop of exchanges, nothing looked up, limited or recorded."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from app.bench.peers.raw_pyreqwest import bodies, text_of
from app.bench.peers.serving import Engine, each_under, serve

# More of them make one connection slower: its streams are served by a loop over all of them.
_STREAMS_PER_CONNECTION = 50
_REPEATS = 2


class RawHttpx(Engine):
    """Bytes in, bytes out."""

    version = f"httpx {httpx.__version__}"

    async def open(self) -> None:
        """A client is a connection."""
        number = -(-self.rules["concurrency"] // _STREAMS_PER_CONNECTION)
        self._clients = [
            httpx.AsyncClient(http1=False, http2=True, timeout=60, trust_env=False) for _ in range(number)
        ]
        self._turn = itertools.cycle(self._clients)
        self._url = f"{self.rules['url']}/v1/chat/completions"

    def prepare(self, lap: Mapping[str, Any]) -> Sequence[bytes]:
        """The bodies."""
        return bodies(self.rules["model"], lap["prompts"])

    async def answer(self, work: Sequence[bytes]) -> list[bytes]:
        """The bodies of the answers."""
        return await each_under(self.rules["concurrency"], work, self._ask)

    async def _ask(self, body: bytes) -> bytes:
        headers = {"content-type": "application/json"}
        for _ in range(_REPEATS):
            # A busy server may close a connection; the other engines repeat such a call, too.
            with contextlib.suppress(httpx.NetworkError, httpx.RemoteProtocolError):
                return (await next(self._turn).post(self._url, headers=headers, content=body)).content
        return (await next(self._turn).post(self._url, headers=headers, content=body)).content

    async def answers(self, lap: Mapping[str, Any], done: Sequence[bytes]) -> list[str]:
        """The texts in them."""
        return [text_of(body) for body in done]

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            await client.aclose()


if __name__ == "__main__":
    serve(RawHttpx)
