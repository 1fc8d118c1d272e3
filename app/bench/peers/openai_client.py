"""The official AsyncOpenAI client under a semaphore, over HTTP/2.

Its default is HTTP/1.1, where it answers 450 prompts/s with 25 at once and 80 with 100 (httpcore looks through
all connections at every turn); over one HTTP/2 connection it is 690, so that is what it is given.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import openai

from app.bench.peers.serving import Engine, serve

# CPU is what bounds it: with 200 or 400 at once it is slower.
_AT_ONCE = 100


class OpenAIClient(Engine):
    """One client for all."""

    version = f"openai {openai.__version__}"

    async def open(self) -> None:
        """A client without retries, which would hide failures."""
        self._client = openai.AsyncOpenAI(
            base_url=f"{self.rules['url']}/v1",
            api_key="bench",
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(http1=False, http2=True),
        )

    async def answer(self, work: Sequence[str]) -> list[str | None]:
        """A task a prompt."""
        free = asyncio.Semaphore(min(_AT_ONCE, self.rules["concurrency"]))

        async def ask(text: str) -> str | None:
            async with free:
                reply = await self._client.chat.completions.create(
                    model=self.rules["model"], messages=[{"role": "user", "content": text}]
                )
            return reply.choices[0].message.content

        return await asyncio.gather(*(ask(text) for text in work))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


if __name__ == "__main__":
    serve(OpenAIClient)
