"""Webhooks over HTTP: endpoints, a batch's own receiver, deliveries; the official SDK unwraps what is sent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.api import Api
from tests.support.eventually import eventually
from tests.support.late import Late
from tests.support.receiver import Receiver, Reply, receiving
from workers.core.webhooks import secret_from

if TYPE_CHECKING:
    import openai
else:
    openai = Late("openai")

pytestmark = pytest.mark.integration
HOOKS = "/v1/webhooks"
# What this tenant's tests make is told of nothing that happens in others.
QUIET = {"events": ["tenant.*"]}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


def made(api: Api, url: str, **wanted: Any) -> dict[str, Any]:
    reply = api.call("POST", HOOKS, json={"url": url, **QUIET, **wanted})
    assert reply.status_code == 200, reply.text
    endpoint: dict[str, Any] = reply.json()
    return endpoint


def refusal(reply: httpx.Response) -> tuple[int, str | None, str | None]:
    error = reply.json()["error"]
    return reply.status_code, error["param"], error["code"]


def test_the_end_of_a_batch_reaches_its_own_receiver_within_two_seconds(api: Api, receiver: Receiver) -> None:
    # given a batch with a receiver of its own that fails once, and no endpoint
    receiver.replies = [Reply(503, b"busy"), Reply(200)]
    body = {"batchwright": {"webhook": {"url": receiver.url}}}
    created = api.sdk.batches.create(
        input_file_id="file-none", endpoint="/v1/chat/completions", completion_window="24h", extra_body=body
    )
    began = time.monotonic()
    # Its input is not there: it has failed by now.
    hidden = created.model_extra["batchwright"]["webhook"]["secret"]  # type: ignore[index]
    (got,) = receiver.wait_for(1)
    assert time.monotonic() - began < 2.0
    # then the official SDK takes it by the secret of the create's answer, and by no other
    event = api.sdk.webhooks.unwrap(got.body, got.headers, secret=hidden)
    assert (event.type, event.data.id) == ("batch.failed", created.id)  # type: ignore[union-attr]
    with pytest.raises(openai.InvalidWebhookSignatureError):
        api.sdk.webhooks.unwrap(got.body, got.headers, secret=secret_from(b"x" * 32))
    # and nobody shows the secret any more
    shown = api.call("GET", f"/v1/batches/{created.id}").json()["batchwright"]["webhook"]
    assert shown == {"url": receiver.url}
    # A replay does not wait for the next attempt; the id stays.
    delivery = eventually(lambda: of(api, event.id, tried=1), 5)
    assert (delivery["status"], delivery["event"], delivery["batch_id"]) == (
        "pending",
        "batch.failed",
        created.id,
    )
    assert delivery["attempts"][0] | {"at": 0, "took_ms": 0} == {
        "at": 0,
        "status": 503,
        "error": "status 503",
        "took_ms": 0,
        "answer": "busy",
    }
    assert api.call("POST", f"{HOOKS}/deliveries/{delivery['id']}/replay").json()["status"] == "pending"
    again = receiver.wait_for(2)[1]
    assert (again.body, again.headers["webhook-id"]) == (got.body, event.id)
    delivery = eventually(lambda: of(api, event.id, tried=2), 5)
    assert (delivery["status"], delivery["next_at"]) == ("delivered", None)
    # What may hold a secret is not logged.
    log = api.log_path.read_text()
    assert delivery["id"] in log and "token=hidden" not in log and hidden not in log


def of(api: Api, event_id: str, *, tried: int) -> Any:
    """The one delivery of an event, once it was tried so often."""
    (found,) = api.call("GET", f"{HOOKS}/deliveries", params={"event": event_id}).json()["data"]
    return (
        api.call("GET", f"{HOOKS}/deliveries/{found['id']}").json()
        if len(found["attempts"]) == tried
        else None
    )


def test_an_endpoint_is_made_shown_changed_rotated_and_removed(api: Api, receiver: Receiver) -> None:
    endpoint = made(api, receiver.url, events=["tenant.*", "batch.budget_reached"])
    path = f"{HOOKS}/{endpoint['id']}"
    assert endpoint.pop("secret").startswith("whsec_")
    assert api.call("GET", path).json() == endpoint
    assert endpoint in api.call("GET", HOOKS).json()["data"]
    changed = api.call("PATCH", path, json={"enabled": False, "events": ["tenant.*"]}).json()
    assert (changed["enabled"], changed["events"], changed["url"]) == (False, ["tenant.*"], receiver.url)
    own = secret_from(b"z" * 24)
    rotated = api.call("POST", f"{path}/rotate-secret", json={"secret": own, "grace_s": 60}).json()
    assert rotated["secret"] == own and 50 < rotated["old_secret_until"] - time.time() < 70
    assert api.call("POST", f"{path}/rotate-secret").json()["secret"].startswith("whsec_")
    assert api.call("DELETE", path).json() == {"id": endpoint["id"], "object": "webhook", "deleted": True}
    assert api.call("GET", path).status_code == 404


def test_a_test_event_says_what_came_back(api: Api, receiver: Receiver) -> None:
    endpoint = made(api, receiver.url)
    receiver.replies = [Reply(418, b"\x00tea"), Reply(200)]
    first, second = (api.call("POST", f"{HOOKS}/{endpoint['id']}/test").json() for _ in range(2))
    assert (first["delivered"], first["status"], first["answer"]) == (False, 418, "\\x00tea")
    assert (second["delivered"], second["error"]) == (True, None)
    event = api.sdk.webhooks.unwrap(receiver.got[0].body, receiver.got[0].headers, secret=endpoint["secret"])
    assert (event.type, event.id) == ("webhook.test", first["event_id"])


@pytest.mark.parametrize(
    ("changes", "param", "code"),
    [
        ({"url": "https://10.0.0.1/"}, "url", "invalid_webhook_url"),
        ({"url": "https://[::ffff:169.254.169.254]/"}, "url", "invalid_webhook_url"),
        ({"url": "https://user:hunter2@8.8.8.8/"}, "url", "invalid_webhook_url"),
        ({"url": None}, "url", "missing_required_parameter"),
        ({"events": ["batch.done"]}, "events.0", "invalid_value"),
        ({"secret": "whsec_short"}, "secret", "invalid_value"),
    ],
)
def test_what_cannot_be_told_is_refused_with_its_parameter(
    api: Api, changes: dict[str, Any], param: str, code: str
) -> None:
    reply = api.call("POST", HOOKS, json={"url": "https://8.8.8.8/", **QUIET} | changes)
    assert refusal(reply) == (400, param, code)
    assert "hunter2" not in reply.text and "whsec_short" not in reply.text


def test_a_batchs_own_receiver_is_checked_at_create(api: Api) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        api.batch(extra_body={"batchwright": {"webhook": {"url": "https://192.168.1.1/"}}})
    assert caught.value.param == "batchwright.webhook.url"
    with pytest.raises(openai.BadRequestError) as caught:
        api.batch(extra_body={"batchwright": {"webhook": {"url": "https://8.8.8.8/", "secret": "s"}}})
    assert caught.value.param == "batchwright.webhook.secret"


def test_another_tenants_endpoints_and_deliveries_are_not_there(api: Api, receiver: Receiver) -> None:
    endpoint = made(api, receiver.url)
    other = {"authorization": f"Bearer {api.other_key}"}
    path = f"{HOOKS}/{endpoint['id']}"
    for method, place in (
        ("GET", path),
        ("PATCH", path),
        ("DELETE", path),
        ("POST", f"{path}/rotate-secret"),
        ("POST", f"{path}/test"),
        ("GET", f"{HOOKS}/deliveries/dlv_x"),
        ("POST", f"{HOOKS}/deliveries/dlv_x/replay"),
    ):
        sent: dict[str, Any] = {"json": {}} if method == "PATCH" else {}
        assert refusal(api.call(method, place, headers=other, **sent)) == (404, "id", None)
    assert api.call("GET", HOOKS, headers=other).json()["data"] == []
    assert receiver.got == []
