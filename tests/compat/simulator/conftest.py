"""The session's simulator, and SDK clients for it over each HTTP version."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from tests.support.late import Late
from tests.support.simulator import Simulator

if TYPE_CHECKING:
    import openai
    from openai import AsyncOpenAI
else:
    openai = Late("openai")


@pytest.fixture
async def client(simulator: Simulator, request: pytest.FixtureRequest) -> AsyncIterator[AsyncOpenAI]:
    """The official SDK, which refuses any reply that is not exactly of the shape it knows; over HTTP/2.

    A test that wants another version parametrizes it indirectly.
    """
    http2 = getattr(request, "param", "HTTP/2") == "HTTP/2"
    async with openai.AsyncOpenAI(
        base_url=simulator.base_url,
        api_key="sk-any",
        max_retries=0,
        timeout=20,
        # Without TLS nobody's authorities count, and to read them takes longer than most tests.
        http_client=openai.DefaultAsyncHttpx2Client(http1=not http2, http2=http2, verify=False),
        _strict_response_validation=True,
    ) as sdk:
        yield sdk
