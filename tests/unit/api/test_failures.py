"""What a client sees when something behind the API is away or broken: the SDK's error shape, always."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from pymongo import MongoClient

from app.api.application import create_app
from app.api.door import check
from app.api.errors import ApiError
from app.api.retrying import RetryBatch
from app.api.services import Services, services_on
from config.settings import Settings
from workers.queue import Queue

pytestmark = pytest.mark.fast
NOBODY = "127.0.0.1:1"


async def test_without_mongodb_the_answer_is_a_503_that_says_when_to_come_back() -> None:
    services = _services()
    async with _client(services) as http:
        reply = await http.get("/v1/batches")
        assert reply.status_code == 503
        assert reply.headers["retry-after"] == "2"
        assert reply.json()["error"]["code"] == "store_unavailable"
        assert (await http.get("/health")).status_code == 200
    await services.close(0.0)


async def test_a_bug_of_ours_is_a_500_in_the_same_shape_and_tells_no_secret() -> None:
    services = _services()
    services.api_keys = None  # type: ignore[assignment]  # the bug
    async with _client(services) as http:
        reply = await http.get("/v1/batches")
    assert reply.status_code == 500
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
    assert reply.json()["error"]["type"] == "server_error"
    assert "NoneType" not in reply.text
    assert reply.headers["x-request-id"].startswith("req_")
    await services.close(0.0)


def _client(services: Services) -> httpx.AsyncClient:
    app: Any = create_app(services)
    transport = httpx.ASGITransport(app=app)
    return httpx.AsyncClient(transport=transport, base_url="http://api", headers={"x-api-key": "bw_key"})


def _services() -> Services:
    mongo: MongoClient[dict[str, Any]] = MongoClient(
        f"mongodb://{NOBODY}", serverSelectionTimeoutMS=20, connectTimeoutMS=100
    )
    return services_on(Settings(), mongo["nothing"], Queue(f"redis://{NOBODY}/0"))


@pytest.mark.parametrize(
    ("filter_", "param", "code", "words"),
    [
        ({"codes": ["x"] * 101}, "filter.codes", "array_above_max_length", "at most 100 elements"),
        ({"lines": [[1, 2, 3]]}, "filter.lines.0", "array_above_max_length", "at most 2 elements"),
        ({"lines": [[1]]}, "filter.lines.0", "array_below_min_length", "at least 2 elements"),
    ],
)
def test_an_array_of_a_wrong_length_is_called_an_array(
    filter_: dict[str, Any], param: str, code: str, words: str
) -> None:
    with pytest.raises(ApiError, match=words) as caught:
        check(RetryBatch, {"filter": filter_})
    assert (caught.value.param, caught.value.code) == (param, code)
