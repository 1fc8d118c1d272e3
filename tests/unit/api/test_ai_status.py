"""What GET /ai/status says of providers, tasks and features."""

from __future__ import annotations

from typing import get_args

import orjson
import pytest

from app.api.ai_status import AiStatus, capabilities, reachable, status_of
from config.provider import Provider, ProviderKind
from config.secret import Secret
from config.settings import Settings
from tests.support.abilities import ABILITIES, NOT_OFFERED, PROVIDERS
from workers.store.worker_processes import Beat
from workers.transport.port import ClientStats
from workers.vitals import ProviderVitals, Vitals

pytestmark = pytest.mark.fast
OPENAI = Provider(
    name="work",
    kind="openai",
    base_url="https://user:hunter22@h/v1",
    api_key=Secret("sk-secret"),
    models=("gpt-*",),
)
CLIENT = ClientStats(client="x", connections=None, connections_opened=None, in_flight=0, requests=0)


def signs(answered_s: float | None, failed_s: float | None) -> ProviderVitals:
    return ProviderVitals(client=CLIENT, slots_in_use=0, slots=1, answered_s=answered_s, failed_s=failed_s)


def beat(*providers: tuple[str, ProviderVitals]) -> Beat:
    vitals = Vitals(transport="httpx", started_at=0.0, providers=dict(providers))
    return Beat("worker-1", 1.0, vitals.to_doc())


def test_the_reply_has_its_shape_and_neither_a_key_nor_an_address() -> None:
    found = status_of(Settings(providers=(OPENAI,)), [beat(("work", signs(3.0, None)))])
    AiStatus.model_validate(found)
    text = orjson.dumps(found).decode()
    assert "secret" not in text and "hunter22" not in text and "https://" not in text
    assert found["workers"] == 1
    assert (found["providers"][0]["reachable"], found["providers"][0]["answered_seconds_ago"]) == (True, 3.0)


def test_without_providers_nobody_answers_anything_and_that_is_said() -> None:
    found = status_of(Settings(), [])
    AiStatus.model_validate(found)
    assert set(found["tasks"]["default"].values()) == {None}
    assert not found["features"]["batch"] and not found["features"]["audio"]


def test_a_task_names_who_answers_it_at_each_priority() -> None:
    found = status_of(Settings(providers=(OPENAI,)), [])
    chosen = found["tasks"]["creative"]
    assert all(each.startswith("work/gpt-") for each in chosen.values())
    assert found["providers"][0]["aliases"]["gpt-sol"].startswith("gpt-")
    assert "claude-opus" not in found["providers"][0]["aliases"]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ([], (None, None)),
        ([signs(None, None)], (None, None)),
        ([signs(None, 2.0)], (False, None)),
        ([signs(2.0, None)], (True, 2.0)),
        ([signs(9.0, 2.0)], (False, 9.0)),
        ([signs(2.0, 9.0)], (True, 2.0)),
        ([signs(9.0, 2.0), signs(1.0, None)], (True, 1.0)),
    ],
)
def test_reachable_is_what_the_last_call_of_any_process_came_to(
    seen: list[ProviderVitals], expected: tuple[bool | None, float | None]
) -> None:
    assert reachable(seen) == expected


@pytest.mark.parametrize("kind", PROVIDERS)
def test_capabilities_are_those_that_tests_prove(kind: str) -> None:
    proved = [each for each in ABILITIES if (kind, each) not in NOT_OFFERED]
    assert capabilities(kind) == [each for each in proved if each not in ("usage", "errors")]


def test_every_kind_of_provider_has_its_capabilities() -> None:
    assert all(capabilities(kind) for kind in get_args(ProviderKind))
