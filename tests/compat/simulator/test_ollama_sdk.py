"""The official Ollama SDK as referee of the simulator's Ollama dialect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest

from app.simulator.answers import answer_text
from app.simulator.usage import count_tokens
from app.simulator.vectors import embedding
from tests.support.late import Late
from tests.support.simulator import Simulator

if TYPE_CHECKING:
    import ollama
else:
    ollama = Late("ollama")

pytestmark = pytest.mark.compat
SEED = 7
PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452")
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
}
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": name, "description": "d", "parameters": CITY}}
    for name in ("get_weather", "get_tides")
]


@pytest.fixture(scope="module")
def client(simulator: Simulator) -> Iterator[ollama.Client]:
    with ollama.Client(host=simulator.url, timeout=20) as sdk:
        yield sdk


def user(text: str, **more: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text, **more}]


def test_a_chat_answer_is_the_one_foretold_with_counts_and_durations(client: ollama.Client) -> None:
    messages = user("Summarise the history of lighthouses.")
    reply = client.chat("sim-small", messages)
    expected = answer_text("sim-small", messages, SEED)
    assert reply.message.content == expected
    assert (reply.done, reply.done_reason, reply.model) == (True, "stop", "sim-small")
    assert reply.eval_count == count_tokens(expected)
    assert reply.prompt_eval_count and reply.prompt_eval_duration and reply.eval_duration
    assert reply.total_duration and reply.total_duration > reply.eval_duration


def test_a_stream_adds_up_to_the_same_text_and_counts_at_its_end(client: ollama.Client) -> None:
    messages = user("Explain tides to a sailor.")
    lines = list(client.chat("sim-large", messages, stream=True))
    assert "".join(line.message.content or "" for line in lines) == answer_text("sim-large", messages, SEED)
    assert [line.done for line in lines] == [False] * (len(lines) - 1) + [True]
    assert len(lines) > 4 and lines[-1].eval_count and lines[0].eval_count is None


def test_generate_answers_a_prompt_like_one_message_of_a_user(client: ollama.Client) -> None:
    reply = client.generate("sim-small", "Name a boat.", options={"num_predict": 3})
    whole = answer_text("sim-small", user("Name a boat."), SEED)
    assert reply.response and whole.startswith(reply.response)
    assert (reply.done_reason, reply.eval_count) == ("length", 3)
    streamed = list(client.generate("sim-small", "Name a boat.", stream=True))
    assert "".join(line.response or "" for line in streamed) == whole
    assert client.generate("sim-small").done_reason == "load"


def test_two_tools_are_called_with_arguments_that_are_objects(client: ollama.Client) -> None:
    messages = user("[[sim:tools=2]] Weather and tides in Oslo?")
    called = client.chat("sim-small", messages, tools=TOOLS).message.tool_calls or []
    assert {call.function.name for call in called} == {"get_weather", "get_tides"}
    for call in called:
        jsonschema_rs.validate(CITY, dict(call.function.arguments))
    lines = list(client.chat("sim-small", messages, tools=TOOLS, stream=True))
    streamed = [call for line in lines for call in line.message.tool_calls or ()]
    assert [call.function for call in streamed] == [call.function for call in called]


def test_results_of_tools_are_taken_back(client: ollama.Client) -> None:
    asked = client.chat("sim-small", user("[[sim:tools=1]] Weather?"), tools=TOOLS[:1]).message
    result = {"role": "tool", "tool_name": "get_weather", "content": "rain"}
    # Without the marker: the second turn is to be text.
    reply = client.chat("sim-small", [*user("Weather?"), asked, result], tools=TOOLS[:1])
    assert reply.message.content and not reply.message.tool_calls


def test_a_schema_is_answered_with_json_valid_for_it(client: ollama.Client) -> None:
    reply = client.chat("sim-small", user("Extract."), format=CITY)
    jsonschema_rs.validate(CITY, json.loads(reply.message.content or ""))
    plain = client.chat("sim-small", user("Extract."), format="json")
    assert isinstance(json.loads(plain.message.content or ""), dict)


def test_an_image_is_part_of_the_prompt(client: ollama.Client) -> None:
    with_image = client.chat("sim-small", user("What is this?", images=[PNG]))
    without = client.chat("sim-small", user("What is this?"))
    assert with_image.message.content != without.message.content
    assert (with_image.prompt_eval_count or 0) - (without.prompt_eval_count or 0) == 85


def test_thinking_comes_before_the_answer_and_is_counted(client: ollama.Client) -> None:
    reply = client.chat("sim-small", user("Why?"), think=True)
    assert reply.message.thinking and reply.message.content == answer_text("sim-small", user("Why?"), SEED)
    assert reply.eval_count == count_tokens(reply.message.thinking) + count_tokens(reply.message.content)


def test_embeddings_are_the_foretold_vectors_old_path_and_new(client: ollama.Client) -> None:
    reply = client.embed("sim-embed", ["first text", "second text"])
    assert [list(each) for each in reply.embeddings] == [
        list(embedding("sim-embed", text, 256, SEED)) for text in ("first text", "second text")
    ]
    assert reply.prompt_eval_count == count_tokens("first text") + count_tokens("second text")
    assert len(client.embed("sim-embed", "one", dimensions=16).embeddings[0]) == 16
    assert list(client.embeddings("sim-embed", "first text").embedding) == list(reply.embeddings[0])


def test_a_model_is_pulled_with_progress_and_then_answers(client: ollama.Client) -> None:
    with pytest.raises(
        ollama.ResponseError, match='model "smollm2:135m" not found, try pulling it first'
    ) as caught:
        client.chat("smollm2:135m", user("Hi"))
    assert caught.value.status_code == 404
    progress = list(client.pull("smollm2:135m", stream=True))
    assert progress[0].status == "pulling manifest" and progress[-1].status == "success"
    layer = [each for each in progress if each.total]
    assert layer[0].digest and layer[-1].completed == layer[-1].total
    assert client.chat("smollm2:135m", user("Hi")).message.content
    assert "smollm2:135m" in [each.model for each in client.list().models]
    assert client.pull("tinyllama").status == "success"


def test_a_model_that_no_library_has_ends_its_pull_in_an_error(client: ollama.Client) -> None:
    for stream in (False, True):
        with pytest.raises(ollama.ResponseError, match="pull model manifest: file does not exist"):
            list(client.pull("no-such-model", stream=stream))


def test_lists_and_descriptions_are_of_the_shape_the_sdk_knows(client: ollama.Client) -> None:
    listed = client.list().models
    assert {"sim-small:latest", "sim-large:latest", "sim-embed:latest"} <= {each.model for each in listed}
    assert all(each.size and each.digest and each.modified_at and each.details for each in listed)
    assert client.show("sim-embed").capabilities == ["embedding"]
    assert client.ps().models[0].expires_at is not None
    with pytest.raises(ollama.ResponseError, match="not found"):
        client.show("nobody")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_injected_status_is_the_sdks_own_error(client: ollama.Client, status: int) -> None:
    with pytest.raises(ollama.ResponseError) as caught:
        client.chat("sim-small", user(f"[[sim:status={status}]] x"))
    assert caught.value.status_code == status and caught.value.error


def test_calls_are_logged_under_ollama(client: ollama.Client, simulator: Simulator) -> None:
    client.chat("sim-small", user("logged once"), stream=False)
    (call,) = simulator.calls(lambda call: call["provider"] == "ollama")[-1:]
    assert (call["endpoint"], call["model"], call["status"], call["stream"]) == (
        "/api/chat",
        "sim-small",
        200,
        False,
    )
    assert call["prompt_tokens"] and call["completion_tokens"]
