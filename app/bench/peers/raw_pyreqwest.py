"""The limit of pyreqwest: a bare loop of HTTP/2 exchanges, nothing looked up, limited or recorded."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import orjson
from pyreqwest.client import ClientBuilder

from app.bench.peers.serving import Engine, each_under, serve

# What one connection carries well; the server allows 256.
_STREAMS_PER_CONNECTION = 50
_WINDOW_BYTES = 4 * 1024 * 1024


class RawPyreqwest(Engine):
    """Bytes in, bytes out."""

    version = f"pyreqwest {version('pyreqwest')}"

    async def open(self) -> None:
        """A client is a connection."""
        self._clients = [_client() for _ in range(-(-self.rules["concurrency"] // _STREAMS_PER_CONNECTION))]
        self._turn = itertools.cycle(self._clients)
        self._url = f"{self.rules['url']}/v1/chat/completions"

    def prepare(self, lap: Mapping[str, Any]) -> Sequence[bytes]:
        """The bodies."""
        return bodies(self.rules["model"], lap["prompts"])

    async def answer(self, work: Sequence[bytes]) -> list[bytes]:
        """The bodies of the answers."""
        return await each_under(self.rules["concurrency"], work, self._ask)

    async def _ask(self, body: bytes) -> bytes:
        request = next(self._turn).post(self._url).header("content-type", "application/json").body_bytes(body)
        response = await request.build().send()
        return bytes(memoryview(await response.bytes()))

    async def answers(self, lap: Mapping[str, Any], done: Sequence[bytes]) -> list[str]:
        """The texts in them."""
        return [text_of(body) for body in done]

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            await client.close()


def _client() -> Any:
    builder = ClientBuilder().http2_prior_knowledge().no_proxy()
    return builder.http2_initial_connection_window_size(_WINDOW_BYTES).build()


def bodies(model: str, prompts: Sequence[str]) -> list[bytes]:
    """The requests, as they lie in the input file of ours."""
    return [
        orjson.dumps({"model": model, "messages": [{"role": "user", "content": text}]}) for text in prompts
    ]


def text_of(body: bytes) -> str:
    """The answer in a chat completion; anything else is shown as it is."""
    try:
        return str(orjson.loads(body)["choices"][0]["message"]["content"])
    except (ValueError, KeyError, IndexError, TypeError):
        return body[:200].decode(errors="replace")


if __name__ == "__main__":
    serve(RawPyreqwest)
