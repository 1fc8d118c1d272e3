"""HEAD, OPTIONS and 405: what a path takes is said, and a path that has a name is nobody's id."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from app.api.application import PARTS, routed
from app.api.methods import WithMethods


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = routed()
    return TestClient(
        WithMethods(app, [*app.routes, *(route for part in PARTS for route in part.router.routes)])
    )


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("OPTIONS", "/v1/files", 204, "GET, HEAD, OPTIONS, POST"),
        ("OPTIONS", "/v1/tenants/x", 204, "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("OPTIONS", "/nowhere", 404, None),
        ("TRACE", "/v1/files/x", 405, "DELETE, GET, HEAD, OPTIONS"),
        ("QUERY", "/health", 405, "GET, HEAD, OPTIONS"),
        ("HEAD", "/v1/batches/x/cancel", 405, "OPTIONS, POST"),
        ("DELETE", "/v1/webhooks/deliveries", 405, "GET, HEAD, OPTIONS"),
        ("PATCH", "/v1/webhooks/deliveries", 405, "GET, HEAD, OPTIONS"),
    ],
)
def test_a_path_says_all_that_it_takes(
    client: TestClient, method: str, path: str, status: int, allow: str | None
) -> None:
    reply = client.request(method, path)
    assert (reply.status_code, reply.headers.get("allow")) == (status, allow)
    if status == 405 and method != "HEAD":
        assert reply.json()["error"]["code"] == "method_not_supported"


def test_head_is_get_without_its_body(client: TestClient) -> None:
    reply, whole = client.head("/docs"), client.get("/docs")
    assert (reply.status_code, reply.content) == (200, b"")
    assert reply.headers["content-length"] == str(len(whole.content))


def test_a_stream_without_an_end_ends_for_a_head() -> None:
    async def endless(_: object) -> Response:
        async def body() -> AsyncIterator[bytes]:
            while True:
                yield b"more"
                await asyncio.sleep(0)

        return StreamingResponse(body(), media_type="text/event-stream")

    route = Route("/stream", endless, methods=["GET"])
    reply = TestClient(WithMethods(route.handle, [route])).head("/stream")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
