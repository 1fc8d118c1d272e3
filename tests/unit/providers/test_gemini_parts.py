"""Media, tools and their calls in a request to Gemini."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.gemini_requests import PNG, USER, chat, refused

# --- media


@pytest.mark.ability("gemini", "image")
def test_an_image_is_sent_inside_the_request() -> None:
    content = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": PNG}}]
    parts = chat([{"role": "user", "content": content}])["contents"][0]["parts"]
    assert parts == [{"text": "What?"}, {"inlineData": {"mimeType": "image/png", "data": "aWNvbg=="}}]


@pytest.mark.ability("gemini", "audio")
def test_sounds_and_documents_are_sent_inside_the_request() -> None:
    content = [
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBE", "filename": "a.pdf"}},
    ]
    parts = chat([{"role": "user", "content": content}])["contents"][0]["parts"]
    assert [part["inlineData"]["mimeType"] for part in parts] == ["audio/mp3", "application/pdf"]


@pytest.mark.parametrize(
    ("part", "uri"),
    [
        ({"type": "image_url", "image_url": {"url": "gs://b/a.png"}}, "gs://b/a.png"),
        (
            {"type": "file", "file": {"file_id": "files/abc"}},
            "https://generativelanguage.googleapis.com/v1beta/files/abc",
        ),
        ({"type": "image_url", "image_url": {"url": "https://youtu.be/x"}}, "https://youtu.be/x"),
    ],
)
def test_what_gemini_reads_by_itself_is_sent_as_its_address(part: dict[str, Any], uri: str) -> None:
    assert chat([{"role": "user", "content": [part]}])["contents"][0]["parts"] == [
        {"fileData": {"fileUri": uri}}
    ]


@pytest.mark.ability("gemini", "image")
@pytest.mark.parametrize(
    ("part", "path"),
    [
        ({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}, "image_url.url"),
        ({"type": "image_url", "image_url": {"url": ""}}, "image_url.url"),
        ({"type": "file", "file": {"file_id": "file-1"}}, "file.file_id"),
        ({"type": "file", "file": {}}, "file.file_id"),
    ],
)
def test_media_that_would_have_to_be_fetched_is_refused_with_its_path(
    part: dict[str, Any], path: str
) -> None:
    content = [{"type": "text", "text": "x"}, part]
    assert refused(messages=[{"role": "user", "content": content}]) == f"messages[0].content[1].{path}"


# --- tools

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "of a town",
        "parameters": {"type": "object", "properties": {"town": {"type": "string", "pattern": "^P"}}},
    },
}


def made_call(id_: str, town: str, **more: Any) -> dict[str, Any]:
    arguments = json.dumps({"town": town})
    return {"id": id_, "type": "function", "function": {"name": "weather", "arguments": arguments}, **more}


@pytest.mark.ability("gemini", "tools")
def test_tools_are_declared_with_their_schema_as_it_is() -> None:
    body = chat(tools=[WEATHER, {"type": "function", "function": {"name": "now"}}], parallel_tool_calls=True)
    assert body["tools"] == [{"functionDeclarations": [
        {"name": "weather", "description": "of a town",
         "parametersJsonSchema": WEATHER["function"]["parameters"]},  # type: ignore[index]
        {"name": "now"},
    ]}]  # fmt: skip
    assert "toolConfig" not in body


@pytest.mark.ability("gemini", "tools")
@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        (
            {"type": "function", "function": {"name": "weather"}},
            {"mode": "ANY", "allowedFunctionNames": ["weather"]},
        ),
    ],
)
def test_a_tool_choice_becomes_a_calling_mode(choice: Any, told: dict[str, Any]) -> None:
    assert chat(tools=[WEATHER], tool_choice=choice)["toolConfig"] == {"functionCallingConfig": told}


@pytest.mark.ability("gemini", "parallel tools")
def test_calls_and_their_answers_are_told_turn_by_turn() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [made_call("c1", "Paris"), made_call("c2", "Pau")],
        },
        {"role": "tool", "tool_call_id": "c1", "content": '{"sky": "blue"}'},
        {"role": "tool", "tool_call_id": "c2", "content": "grey"},
        {"role": "user", "content": "Thanks"},
    ]
    assert chat(messages)["contents"][1:] == [
        {"role": "model", "parts": [
            {"functionCall": {"name": "weather", "args": {"town": "Paris"}, "id": "c1"}},
            {"functionCall": {"name": "weather", "args": {"town": "Pau"}, "id": "c2"}},
        ]},
        {"role": "user", "parts": [
            {"functionResponse": {"name": "weather", "response": {"sky": "blue"}, "id": "c1"}},
            {"functionResponse": {"name": "weather", "response": {"output": "grey"}, "id": "c2"}},
        ]},
        {"role": "user", "parts": [{"text": "Thanks"}]},
    ]  # fmt: skip


def test_a_thought_signature_comes_back_with_its_call() -> None:
    signed = made_call("c1", "Paris", extra_content={"google": {"thought_signature": "c2ln"}})
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "s"},
        *USER,
        {"role": "assistant", "tool_calls": [signed]},
        {"role": "tool", "tool_call_id": "c1", "content": "ok"},
        {"role": "assistant", "tool_calls": [made_call("c2", "Pau"), made_call("c3", "Lyon")]},
    ]
    contents = chat(messages, model="gemini-3-pro-preview")["contents"]
    assert contents[1]["parts"][0]["thoughtSignature"] == "c2ln"
    assert [part.get("thoughtSignature") for part in contents[3]["parts"]] == [
        "skip_thought_signature_validator",
        None,
    ]
    assert "thoughtSignature" not in chat(messages)["contents"][3]["parts"][0]


@pytest.mark.parametrize(
    ("messages", "path"),
    [
        ([{"role": "tool", "tool_call_id": "c9", "content": "x"}], "messages[0].tool_call_id"),
        (
            [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]}],
            "messages[0].tool_calls[0].function.arguments",
        ),
        (
            [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}],
            "messages[0].tool_calls[0].function.arguments",
        ),
        (
            [
                {"role": "assistant", "tool_calls": [made_call("c1", "Paris")]},
                {
                    "role": "tool",
                    "tool_call_id": "c1",
                    "content": [{"type": "image_url", "image_url": {"url": PNG}}],
                },
            ],
            "messages[1].content",
        ),
    ],
)
def test_calls_that_cannot_be_told_are_refused_with_their_path(messages: list[Any], path: str) -> None:
    assert refused(messages=messages) == path
