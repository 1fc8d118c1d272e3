"""Fault 17: a provider whose answers are nonsense, far too large, or not what they say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.arena import Arena
from tests.chaos.odd_provider import ODD_MODEL, OddCall, odd_provider
from tests.chaos.oracle import Expected, Finding
from tests.chaos.rules import Rules
from tests.support.hostile_bodies import bomb, endless

pytestmark = pytest.mark.chaos
Opens = Callable[[Rules], Arena]
Judges = Callable[[Arena, Expected], Finding]
Body = Callable[[], bytes | Iterator[bytes]]

_OBJECT = b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"odd-1",'
_CHOICES = b'"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"yes"}}]'
_USAGE = b'"usage":{"prompt_tokens":%d,"completion_tokens":3}'
_HTML = b"<!DOCTYPE html><html><head><title>Welcome</title></head><body>Log in first</body></html>"
_NO_ANSWERS: dict[str, Body] = {
    "truncated": lambda: _OBJECT + _CHOICES[:40],
    "wrong types": lambda: _OBJECT + b'"choices":"yes",' + _USAGE % 5 + b"}",
    "empty": lambda: b"",
    "html": lambda: _HTML,
    "usage of 2**64": lambda: _OBJECT + _CHOICES + b"," + _USAGE % 2**64 + b"}",
    "depth of 2,000": lambda: _OBJECT + _CHOICES + b"," + _deep(2_000) + b"}",
}
_FLOODS: dict[str, Body] = {"1 GB": endless, "gzip bomb": lambda: bomb("gzip")}
# Odd, but answers: they are recorded as they came.
_ODD_ANSWERS: dict[str, Callable[[], bytes]] = {
    "17 MB": lambda: b'"extra":"' + b"x" * 17_000_000 + b'"',
    "depth of 200": lambda: _deep(200),
    "2**64": lambda: b'"extra":%d' % 2**64,
}
_ATTEMPTS = 3


def _deep(levels: int) -> bytes:
    return b'"extra":' + b"[" * levels + b"]" * levels


def _rule(call: OddCall) -> None:
    kind, _, when = call.prompt.partition("|")[0].partition("; ")
    if kind in _ODD_ANSWERS:
        call.answer_with(_ODD_ANSWERS[kind]())
    elif kind in _FLOODS:
        call.talk_nonsense(_FLOODS[kind](), [("content-encoding", "gzip")] if kind == "gzip bomb" else None)
    elif kind in _NO_ANSWERS and (when == "always" or call.times == 1):
        call.talk_nonsense(_NO_ANSWERS[kind]())
    else:
        call.answer()


@pytest.mark.fault(
    "17", "truncated JSON, wrong types, nothing, HTML, 1 GB, a gzip bomb, 17 MB, depth 200, 2**64"
)
@pytest.mark.parametrize("client", [pytest.param("httpx", marks=pytest.mark.quick), "pyreqwest"])
def test_nonsense_ends_its_item_alone_by_rule_and_is_never_cached(
    arena_of: Opens, verdict: Judges, seed: int, items: int, tmp_path: Path, client: str
) -> None:
    never = [f"{kind}; always| Summarise." for kind in _NO_ANSWERS]
    floods = [f"{kind}; always| Summarise." for kind in _FLOODS]
    once = [f"{kind}; once| Summarise." for kind in _NO_ANSWERS]
    odd_ones = [f"{kind}| Summarise." for kind in _ODD_ANSWERS]
    neighbours = [f"Summarise remark {number}." for number in range(min(items, 200))]
    with odd_provider(tmp_path / "arena", seed) as odd:
        odd.rule = _rule
        settings = {**odd.environ(), "BATCHWRIGHT_HTTP_TRANSPORT": client}
        arena = arena_of(Rules(seed, workers=1, tenants=("one",), environ=settings))
        tenant = arena.tenants["one"]
        tenant.model = ODD_MODEL
        # Given a provider that talks nonsense to some items of a batch
        asked = [*never, *floods, *once, *odd_ones, *neighbours]
        tenant.submit(len(asked), prompt=asked.__getitem__)
        arena.hit("nonsense", lambda: None)
        arena.rest()
        # Then each is asked again by rule, and the neighbours once
        assert {prompt: len(calls) for prompt, calls in odd.of(asked).items()} == {
            **dict.fromkeys(never, _ATTEMPTS),
            **dict.fromkeys(once, 2),
            **dict.fromkeys([*floods, *odd_ones, *neighbours], 1),
        }
        first = tenant.submitted[0]
        failed = Counter(row["error"]["code"] for row in tenant.rows(tenant.batch(first.id)["error_file_id"]))
        assert failed == {"unusable_reply": len(never), "body_too_large": len(floods)}
        # and when it has come to its senses, what it said before is in no cache.
        odd.rule = lambda call: call.answer()
        again = [*never, *floods, *neighbours[:20]]
        tenant.submit(len(again), prompt=again.__getitem__)
        arena.rest()
        assert {prompt: len(calls) for prompt, calls in odd.of(again).items()} == {
            **dict.fromkeys(never, _ATTEMPTS + 1),
            **dict.fromkeys(floods, 2),
            **dict.fromkeys(neighbours[:20], 1),
        }
        verdict(arena, Expected(max_excess=0, errors=frozenset(failed)))


@pytest.mark.fault("17", "20 bodies of 1 GB at once")
@pytest.mark.parametrize("client", ["httpx", "pyreqwest"])
def test_floods_that_come_together_keep_a_worker_under_its_bound(
    arena_of: Opens, verdict: Judges, seed: int, items: int, tmp_path: Path, client: str
) -> None:
    floods = [f"{kind}| Summarise {number}." for kind in _FLOODS for number in range(10)]
    neighbours = [f"Summarise remark {number}." for number in range(min(items, 200))]
    asked = [*floods, *neighbours]
    with odd_provider(tmp_path / "arena", seed) as odd:
        odd.rule = _rule
        settings = {**odd.environ(), "BATCHWRIGHT_HTTP_TRANSPORT": client}
        arena = arena_of(Rules(seed, workers=1, tenants=("one",), environ=settings))
        tenant = arena.tenants["one"]
        tenant.model = ODD_MODEL
        tenant.submit(len(asked), prompt=asked.__getitem__)
        arena.hit("floods", lambda: None)
        arena.rest()
        verdict(arena, Expected(max_excess=0, errors=frozenset({"body_too_large"})))
        assert {len(calls) for calls in odd.of(asked).values()} == {1}
