"""What all dialects share: prompts as bytes, the cache of their beginnings, which tools are called; and forms."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.simulator.chat import chosen_tools
from app.simulator.faults import parse_fault
from app.simulator.openai_multipart import Upload, form_of
from app.simulator.promptcache import LEAST_TOKENS, PromptCache, beginnings, steps
from app.simulator.usage import prompt_bytes, prompt_tokens

pytestmark = pytest.mark.fast
PARTS = st.lists(
    st.builds(lambda text: {"type": "text", "text": text}, st.text(max_size=20))
    | st.just({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}})
    | st.just({"type": "file", "file": {"file_data": "data:application/pdf;base64,AA"}}),
    max_size=3,
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["system", "user", "assistant", "tool"]),
            "content": st.text(max_size=30) | PARTS,
        },
        optional={"tool_calls": st.just([{"id": "a", "function": {"name": "f", "arguments": "{}"}}])},
    ),
    max_size=4,
)
TOOLS: list[Any] = [{"type": "function", "function": {"name": name}} for name in ("a", "b", "c")]


@given(MESSAGES, st.sampled_from([(), TOOLS]), st.none() | st.just({"type": "object"}))
def test_a_prompt_has_four_bytes_for_each_token_it_is_charged(messages: Any, tools: Any, schema: Any) -> None:
    assert len(prompt_bytes(messages, tools, schema)) == 4 * prompt_tokens(messages, tools, schema)


@given(st.integers(0, 9000), st.integers(0, 9000), st.integers(0, 9000))
def test_what_two_prompts_share_is_read_in_steps_and_no_more(shared: int, one: int, other: int) -> None:
    cache = PromptCache()
    first, second = b"s" * shared + b"1" * one, b"s" * shared + b"2" * other
    cache.keep(beginnings("m", first, steps(len(first) // 4)))
    read = cache.longest(beginnings("m", second, steps(len(second) // 4)))
    whole = shared // 4
    expected = 0 if whole < LEAST_TOKENS else whole - whole % 128
    assert read == expected
    assert cache.longest(beginnings("other model", second, steps(len(second) // 4))) == 0


@pytest.mark.parametrize(
    ("named", "required", "parallel", "wanted", "count"),
    [
        (None, False, True, None, 0),
        (None, True, True, None, 2),
        (None, True, False, None, 1),
        ("b", False, True, None, 1),
        (None, False, True, 5, 5),
        (None, False, False, 5, 1),
        ("b", False, True, 3, 3),
    ],
)
def test_how_many_tools_are_called_follows_from_the_request(
    named: str | None, required: bool, parallel: bool, wanted: int | None, count: int
) -> None:
    for first in range(3):
        calls = chosen_tools(
            TOOLS, named, required=required, parallel=parallel, wanted=wanted, digest=bytes([first])
        )
        names = [call["function"]["name"] for call in calls]
        assert len(names) == count
        assert set(names) <= ({named} if named else {"a", "b", "c"})
        assert named or len(set(names)) == min(count, 3)


def test_one_tool_is_called_once_and_no_tool_never() -> None:
    rule: dict[str, Any] = {"required": True, "parallel": True, "wanted": None, "digest": b"x"}
    assert len(chosen_tools(TOOLS[:1], None, **rule)) == 1
    assert chosen_tools((), None, **{**rule, "wanted": 2}) == ()
    assert parse_fault("tools=3").tool_calls == 3


def form(boundary: str, fields: list[tuple[str, str | Upload]]) -> bytes:
    parts = []
    for name, value in fields:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'
        if isinstance(value, Upload):
            head += f'; filename="{value.filename}"\r\nContent-Type: audio/wav'
        data = value.data if isinstance(value, Upload) else value.encode()
        parts.append(f"{head}\r\n\r\n".encode() + data + b"\r\n")
    return b"".join(parts) + f"--{boundary}--\r\n".encode()


@given(st.binary(max_size=200), st.text(max_size=20))
def test_a_form_is_read_back_whatever_its_file_and_hashed_without_its_boundary(
    data: bytes, prompt: str
) -> None:
    upload = Upload("a.wav", data)
    fields: list[tuple[str, str | Upload]] = [
        ("file", upload), ("prompt", prompt), ("granularities[]", "word"), ("granularities[]", "segment"),
    ]  # fmt: skip
    read, hashed = form_of("multipart/form-data; boundary=0123456789abcdef", form("0123456789abcdef", fields))
    again, same = form_of(
        'multipart/form-data; boundary="fedcba9876543210"', form("fedcba9876543210", fields)
    )
    assert read == again == {"file": upload, "prompt": prompt, "granularities": ["word", "segment"]}
    assert hashed == same
