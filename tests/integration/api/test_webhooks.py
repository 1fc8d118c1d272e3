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
    reply = api.call("POST", f"{path}/rotate-secret", json={"secret": own, "grace_s": 60})
    rotated = reply.json()
    assert reply.headers["cache-control"] == "no-store", "nobody on the way keeps a secret"
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


def test_the_official_sdk_handles_endpoints_by_its_own_calls(api: Api, receiver: Receiver) -> None:
    hooks = api.sdk.webhooks
    # given one that the SDK makes, its answer strictly as the SDK's types say
    created = hooks.create(name="ci", url=receiver.url, event_types=["batch.expired"])
    assert created.signing_secret.startswith("whsec_") and created.object == "webhook_endpoint"
    shown = hooks.retrieve(created.id)
    assert shown.to_dict() == {k: v for k, v in created.to_dict().items() if k != "signing_secret"}
    assert (shown.name, shown.url, shown.event_types) == ("ci", receiver.url, ["batch.expired"])
    # it is one of ours, and ours are the SDK's
    assert api.call("GET", f"{HOOKS}/{created.id}").json()["events"] == ["batch.expired"]
    later = made(api, receiver.url)
    assert hooks.retrieve(later["id"]).event_types == ["tenant.budget_warning", "tenant.budget_reached"]
    listed = [each.id for each in hooks.list(limit=1)]
    assert listed[:2] == [later["id"], created.id], "newest first, page after page"
    changed = hooks.update(created.id, name="cd", event_types=["batch.cancelled"])
    assert (changed.name, changed.url, changed.event_types) == ("cd", receiver.url, ["batch.cancelled"])
    # when it is tested while the secret changes
    rotated = hooks.rotate_secret(created.id, keep_old_secret_active_for_24_hours=True)
    receiver.replies = [Reply(418), Reply(200)]
    came = hooks.test(created.id, event_type="batch.completed")
    assert (came.success, came.status_code, came.event_type) == (True, 418, "batch.completed")
    hooks.rotate_secret(created.id)
    hooks.test(created.id, event_type="batch.failed")
    # then both secrets check the first event, and neither the second
    first, second = receiver.got
    for secret in (created.signing_secret, rotated.signing_secret):
        assert hooks.unwrap(first.body, first.headers, secret=secret).type == "batch.completed"
        with pytest.raises(openai.InvalidWebhookSignatureError):
            hooks.unwrap(second.body, second.headers, secret=secret)
    assert hooks.event_types.list().data[:2] == ["batch.completed", "batch.failed"]
    gone = hooks.delete(created.id)
    assert (gone.id, gone.deleted, gone.object) == (created.id, True, "webhook_endpoint.deleted")
    with pytest.raises(openai.NotFoundError):
        hooks.retrieve(created.id)


@pytest.mark.parametrize(
    ("changes", "param", "code"),
    [
        ({"url": "https://127.0.0.2/"}, "url", "invalid_webhook_url"),
        ({"event_types": ["response.completed"]}, "event_types.0", "invalid_value"),
        ({"event_types": []}, "event_types", "array_below_min_length"),
        ({"name": None}, "name", "missing_required_parameter"),
        ({"enabled": False}, "enabled", "unknown_parameter"),
    ],
)
def test_what_the_sdk_sends_wrong_is_refused_with_its_parameter(
    api: Api, changes: dict[str, Any], param: str, code: str
) -> None:
    body = {"name": "n", "url": "https://8.8.8.8/", "event_types": ["batch.failed"]} | changes
    assert refusal(api.call("POST", "/v1/webhook_endpoints", json=body)) == (400, param, code)


def test_a_receiver_that_is_not_there_is_the_sdks_error(api: Api) -> None:
    with receiving() as one:
        created = api.sdk.webhooks.create(name="n", url=one.url, event_types=["batch.expired"])
    with pytest.raises(openai.ConflictError) as refused:
        api.sdk.webhooks.test(created.id, event_type="batch.failed")
    assert refused.value.code == "webhook_not_reached"
    assert refused.value.response.headers["x-should-retry"] == "false"
    with pytest.raises(openai.BadRequestError) as caught:
        api.sdk.webhooks.list(after="whk_none")
    assert caught.value.param == "after"
    api.sdk.webhooks.delete(created.id)
