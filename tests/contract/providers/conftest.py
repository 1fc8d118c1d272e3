"""The wire to the session's simulator, one for the tests of a file."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.contract.providers.cases import Wire
from tests.support.simulator import Simulator


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def wire(simulator: Simulator) -> AsyncIterator[Wire]:
    """Calls to the shared simulator."""
    opened = Wire(simulator)
    yield opened
    await opened.close()
