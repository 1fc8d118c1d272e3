"""A key, a signing secret or a prompt that comes in the wrong place is in no reply, no log line and no document."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.support.api import Api
from workers.core.identity import new_api_key
from workers.core.webhooks import secret_from

pytestmark = pytest.mark.integration
# Bytes of files are their owner's, whatever they hold.
BYTES = ("files.chunks", "batch_results")


@dataclass
class Mistakes:
    """Calls that put secrets where none belong; what was answered to them."""

    api: Api
    key: str
    said: list[str] = field(default_factory=list)
    prompt: str = "WHAT-NOBODY-MAY-READ"
    signing: str = secret_from(b"planted secret of a webhook, 32+")
    provider_key: str = "sk-proj-" + "Planted0" * 6

    def call(self, method: str, path: str, **options: Any) -> int:
        reply = self.api.call(method, path, **options)
        self.said.append(reply.text + str(reply.headers))
        return reply.status_code

    def raw(self, *header_lines: bytes) -> None:
        """What no proper client sends."""
        at = urlsplit(self.api.url)
        with socket.create_connection((at.hostname, at.port or 80), timeout=5) as connection:
            lines = [b"GET /v1/batches HTTP/1.1", b"Host: x", b"Connection: close", *header_lines]
            connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n")
            while data := connection.recv(65536):
                self.said.append(data.decode("latin-1"))


@pytest.fixture(scope="module")
def mistakes(api: Api) -> Mistakes:
    # No key of this server, but in the form of one: with its own the same calls would be let in.
    return Mistakes(api, new_api_key())


def in_urls(secret: str) -> Iterator[tuple[str, str]]:
    for path in ("", "v1/", "v1/batches/", "v1/files/", "v1/webhooks/", "v1/webhooks/deliveries/"):
        yield "GET", f"/{path}{secret}"
    for path in ("batches/{}/output", "batches/{}/events", "batches/batch_1/items/{}", "files/{}/content"):
        yield "GET", f"/v1/{path.format(secret)}"
    for path in ("keys/{}", "webhooks/{}", "files/{}", "tenants/{}"):
        yield "DELETE", f"/v1/{path.format(secret)}"
    for path in ("batches/{}/cancel", "keys/{}/rotate", "tenants/{}/pause", "providers/{}/pause"):
        yield "POST", f"/v1/{path.format(secret)}"
    for query in (
        "batches?after=",
        "batches?limit=",
        "files?after=",
        "keys?tenant=",
        "webhooks/deliveries?status=",
    ):
        yield "GET", f"/v1/{query}{secret}"
    yield "DELETE", f"/v1/cache?prefix={secret}"
    yield "PUT", f"/v1/batches/{secret}"


def bodies(secret: str) -> Iterator[tuple[str, dict[str, Any]]]:
    create = {"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    yield "batches", create | {"input_file_id": secret}
    yield "batches", create | {"endpoint": secret}
    yield "batches", create | {"metadata": {"key": secret}}
    yield "batches", create | {"metadata": {secret: 5}}
    yield "batches", create | {"idempotency_key": secret}
    yield "batches", create | {"batchwright": {secret: True}}
    yield "batches", create | {"batchwright": {"run_key": secret}}
    yield "keys", {"name": secret}
    yield "tenants", {"id": secret}
    yield "tenants", {"id": "planted", "display_name": secret}
    yield "webhooks", {"url": f"https://example.invalid/{secret}"}
    yield "webhooks", {"url": "http://127.0.0.1:1025/", "events": [secret]}
    yield "webhooks", {"url": "http://127.0.0.1:1025/", "secret": secret + "x"}


def test_a_key_in_the_wrong_place_is_shown_logged_and_stored_nowhere(api: Api, mistakes: Mistakes) -> None:
    # given a key in every place of a call but the right one
    key = mistakes.key
    for method, path in in_urls(key):
        assert 400 <= mistakes.call(method, path) < 500, path
    for path, body in bodies(key):
        assert mistakes.call("POST", f"/v1/{path}", json=body) == 400, body
    assert mistakes.call("POST", "/v1/batches", content=f'{{"x": {key}}}') == 400
    headers = {"idempotency-key": key}
    assert mistakes.call("POST", "/v1/batches", headers=headers, json={"input_file_id": "f"}) == 400
    for purpose, name in ((key, "x.jsonl"), ("batch", f"{key}.jsonl"), ("user_data", key)):
        files, data = {"file": (name, b"{}")}, {"purpose": purpose}
        assert mistakes.call("POST", "/v1/files", files=files, data=data) == 400
    # and wrong keys in every way that a key can come
    assert mistakes.call("GET", f"/v1/batches?api_key={key}") == 200
    for wrong in (f"Bearer {key}", f"Bearer {key}x", f"Bearer {key[:-1]}", f"Basic {key}", key):
        assert mistakes.call("GET", "/v1/batches", headers={"authorization": wrong}) == 401
    for line in (
        b"X-API-Key: \x07%s",
        b"X-API-Key: %s\x01",
        b"Authorization: Bearer %s\x00",
        b"%s: x",
        b"X %s",
    ):
        mistakes.raw(line % key.encode())
    # then nobody finds it anywhere
    nowhere(api, mistakes, key)


def test_a_key_that_a_socket_is_told_is_shown_and_logged_nowhere(api: Api, mistakes: Mistakes) -> None:
    url = api.url.replace("http", "ws", 1) + "/v1/events"
    key = mistakes.key

    async def talk(protocols: list[Any], *messages: dict[str, Any], own: bool = False) -> None:
        headers = {"authorization": f"Bearer {api.key}"} if own else {}
        async with connect(url, subprotocols=protocols or None, additional_headers=headers) as told:
            mistakes.said.append(str(told.response.headers if told.response else ""))
            try:
                for message in messages:
                    await told.send(json.dumps(message))
                await told.send(json.dumps({"type": "ping"}))
                while "pong" not in (said := str(await told.recv())):
                    mistakes.said.append(said)
            except ConnectionClosed as error:
                mistakes.said.append(str(error))

    async def all_of_them() -> None:
        await talk(["batchwright", f"bearer.{key}"])
        await talk(["batchwright", f"bearer.{key}x"])
        await talk(["batchwright"], {"type": key})
        await talk(["batchwright"], {"type": "auth", "key": key})
        await talk(["batchwright"], {"type": "auth", "key": [key]})
        subscribe = {"type": "subscribe", "batches": [key], "last_event_ids": {key: -1}}
        await talk([], {"type": key}, {"type": "auth", "key": key}, subscribe, own=True)

    asyncio.run(all_of_them())
    nowhere(api, mistakes, key)


def test_signing_secrets_and_keys_of_providers_are_repeated_and_logged_nowhere(
    api: Api, mistakes: Mistakes
) -> None:
    # the body of a create may hold what a tenant likes: what it says is its own
    for secret in (mistakes.signing, mistakes.provider_key):
        for method, path in in_urls(secret.replace("/", "%2F")):
            mistakes.call(method, path)
        for header in ("authorization", "x-api-key"):
            mistakes.call("GET", "/v1/batches", headers={"authorization": "", header: secret})
        assert mistakes.call("POST", "/v1/batches", json={"endpoint": secret}) == 400
        assert not [text for text in [*mistakes.said, api.log_path.read_text()] if secret in text]


def test_what_is_asked_of_models_is_in_no_log_line(api: Api, mistakes: Mistakes) -> None:
    lines = {"file": ("x.jsonl", f'{{"custom_id": "{mistakes.prompt}"'.encode())}
    mistakes.call("POST", "/v1/files", files=lines, data={"purpose": "batch"})
    asked = {"messages": [{"role": "user", "content": mistakes.prompt}]}
    for body in ({"requests": asked}, {"endpoint": "/v1/chat/completions", "requests": [asked]}):
        mistakes.call("POST", "/v1/cache/lookup", json=body)
    mistakes.call("POST", "/v1/cache/lookup", content=json.dumps(asked)[:-1])
    assert mistakes.prompt not in api.log_path.read_text()


def nowhere(api: Api, mistakes: Mistakes, key: str) -> None:
    """No reply, no log line and no document holds it."""
    assert not [text for text in mistakes.said if key in text]
    assert key not in api.log_path.read_text()
    db = api.work.db
    names = [name for name in db.list_collection_names() if name not in BYTES]
    assert [str(doc["_id"]) for name in names for doc in db[name].find() if key in str(doc)] == []
