"""What the Python SDK sends again and what it must not: conflicts, idempotency keys, lost answers, refusals for now."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import openai
import pytest

from app.api.errors import ApiError, reply_to, store_down
from app.api.json_reply import page_reply
from tests.compat.conftest import CHAT, Stack, lines

pytestmark = pytest.mark.compat


@dataclass
class Counted:
    """The SDK with its repeats on, and every request that leaves it."""

    sent: list[Any] = field(default_factory=list)

    def client(self, stack: Stack) -> openai.OpenAI:
        """As a user makes it, but for the hook that counts."""
        http = openai.DefaultHttpxClient(event_hooks={"request": [self.sent.append]})
        return openai.OpenAI(
            api_key=stack.key, base_url=stack.base_url, http_client=http, _strict_response_validation=True
        )


def test_a_conflict_for_good_is_sent_once_though_the_sdk_would_repeat_it(stack: Stack) -> None:
    """Twice: a cancel of what is over, and an idempotency key that made another batch."""
    counted = Counted()
    sdk, batch = counted.client(stack), stack.ended(stack.create(lines(1)).id)
    with pytest.raises(openai.ConflictError, match="status 'completed'") as clash:
        sdk.batches.cancel(batch.id)
    assert clash.value.response.headers["x-should-retry"] == "false" and len(counted.sent) == 1
    key = {"Idempotency-Key": f"once-{batch.id}"}
    wanted: Any = {"input_file_id": batch.input_file_id, "endpoint": CHAT, "completion_window": "24h"}
    sdk.batches.create(**wanted, extra_headers=key)
    with pytest.raises(openai.ConflictError) as clash:
        sdk.batches.create(**wanted, metadata={"a": "b"}, extra_headers=key)
    assert (clash.value.code, clash.value.param) == ("idempotency_key_reused", "idempotency_key")
    assert clash.value.response.headers["x-should-retry"] == "false" and len(counted.sent) == 3


def test_the_same_create_under_one_key_is_one_batch_by_header_or_body(stack: Stack) -> None:
    file_id = stack.upload(lines(1))
    wanted: Any = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h"}
    in_header: Any = {"extra_headers": {"Idempotency-Key": f"a-{file_id}"}}
    in_body: Any = {"extra_body": {"idempotency_key": f"b-{file_id}"}}
    by_header = {stack.sdk.batches.create(**wanted, **in_header).id for _ in range(3)}
    by_body = {stack.sdk.batches.create(**wanted, **in_body).id for _ in range(3)}
    mixed = stack.sdk.batches.create(**wanted, extra_body={"idempotency_key": f"a-{file_id}"}).id
    assert len(by_header) == len(by_body) == 1 and by_header != by_body
    assert {mixed} == by_header


def test_a_create_whose_answer_was_lost_is_repeated_by_the_sdk_and_makes_one_batch(stack: Stack) -> None:
    """The SDK sends no key of its own: the server knows the repeat by x-stainless-retry-count."""
    sent: list[str] = []

    class Losing(httpx_of_the_sdk().HTTPTransport):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            reply = super().handle_request(request)
            sent.append(request.headers["x-stainless-retry-count"])
            if len(sent) == 1:
                reply.read()
                raise httpx_of_the_sdk().ReadError("the connection was lost on the way back", request=request)
            return reply

    http = openai.DefaultHttpxClient(transport=Losing())
    sdk = openai.OpenAI(api_key=stack.key, base_url=stack.base_url, http_client=http)
    mark = {"only": stack.upload(lines(1))}
    made = sdk.batches.create(
        input_file_id=mark["only"], endpoint=CHAT, completion_window="24h", metadata=mark
    )
    assert sent == ["0", "1"]
    assert [batch.id for batch in stack.sdk.batches.list(limit=100) if batch.metadata == mark] == [made.id]


def httpx_of_the_sdk() -> Any:
    """The HTTP client's package that this version of the SDK is made with."""
    return __import__(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])


@pytest.mark.parametrize(
    ("status", "headers", "waits_s"),
    [
        (503, None, 2.0),
        (429, {"retry-after-ms": "150", "retry-after": "7"}, 0.15),
        (429, {"retry-after": "1"}, 1.0),
    ],
)
def test_a_refusal_for_now_is_repeated_after_the_time_it_names(
    monkeypatch: pytest.MonkeyPatch, status: int, headers: dict[str, str] | None, waits_s: float
) -> None:
    """The reply of a server whose database is away, and of one that limits its callers; then it answers."""
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    refusal = store_down() if headers is None else ApiError(status, "too fast", headers=headers)
    replies = [reply_to(refusal), page_reply([], has_more=False)]
    httpx_used, sent = httpx_of_the_sdk(), []

    def answer(request: Any) -> Any:
        sent.append(request.headers["x-stainless-retry-count"])
        reply = replies[len(sent) - 1]
        return httpx_used.Response(reply.status_code, headers=dict(reply.headers), content=reply.body)

    http = openai.DefaultHttpxClient(transport=httpx_used.MockTransport(answer))
    with openai.OpenAI(api_key="k", base_url="http://api/v1", http_client=http) as sdk:
        assert sdk.batches.list().data == []
    assert sent == ["0", "1"]
    assert waited == [waits_s]
