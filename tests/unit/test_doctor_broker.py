"""What `doctor` says of a broker that is not the control Redis; tests/chaos/test_rabbitmq.py has one that runs."""

from __future__ import annotations

import pytest

from app.doctor.broker_check import check_broker
from tests.support.servers import TestServers


@pytest.mark.parametrize("url", ["amqp://me:secret@127.0.0.1:1//", "redis://:secret@127.0.0.1:1/0"])
def test_a_broker_that_is_away_is_a_problem_said_without_its_password(url: str) -> None:
    (found,) = check_broker(url, ["acme"])
    assert (found.name, found.state) == ("broker", "problem")
    assert "127.0.0.1:1" in found.text and "BATCHWRIGHT_BROKER_URL" in found.fix
    assert "secret" not in str(found)


def test_a_redis_as_a_broker_must_not_evict(servers: TestServers) -> None:
    well = check_broker(servers.redis_url, ["acme"])
    names = ("broker", "broker memory", "broker persistence")
    assert [(each.name, each.state) for each in well] == [(name, "ok") for name in names]
    forgetful = check_broker(servers.cache_redis_url, ["acme"])
    assert [each.state for each in forgetful] == ["ok", "problem", "warning"]
