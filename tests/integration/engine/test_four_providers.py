"""One file whose lines go to four providers: every answer in the OpenAI shape, true usage and cost by provider."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.support.batches import chat_line
from tests.support.engine import Engine, open_engine
from tests.support.servers import TestServers
from tests.support.simulator import Simulator
from workers.core.identity import shard_id

pytestmark = pytest.mark.integration
PROVIDERS = ("openai", "anthropic", "gemini", "ollama")
# Dollars for a million output tokens: each provider costs something else.
PRICES = {name: 10 ** (place + 3) for place, name in enumerate(PROVIDERS)}
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}
WANTED = {"type": "json_schema", "json_schema": {"name": "counted", "schema": SCHEMA}}
EACH = 5


def settings_for(url: str) -> str:
    tables = []
    for name in PROVIDERS:
        base_url = f"{url}/v1" if name == "openai" else url
        tables.append(f'[providers.{name}]\nkind = "{name}"\nbase_url = "{base_url}"\nmodels = ["none-*"]\n')
        tables.append(f'[prices."{name}/sim-small"]\ninput_usd = 0\noutput_usd = {PRICES[name]}\n')
    return "\n".join(tables)


@pytest.fixture(scope="module")
def engine(
    servers: TestServers, simulator: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    toml = settings_for(simulator.url)
    with open_engine(servers, tmp_path_factory.mktemp("four"), toml=toml, scripted=False) as opened:
        yield opened


def test_four_providers_answer_one_file_in_one_shape_with_their_own_usage_and_cost(
    engine: Engine, simulator: Simulator
) -> None:
    lines = [
        chat_line(
            f"{name}-{n}",
            f"four {n}",
            model=f"{name}/sim-small",
            seed=1,
            **({"response_format": WANTED} if n == 0 else {}),
        )
        for n in range(EACH)
        for name in PROVIDERS
    ]
    before = len(simulator.calls())
    batch_id, _ = engine.plan(lines)
    assert [engine.run(shard_id(batch_id, seq)) for seq in range(1, 5)] == ["done"] * 4
    batch = engine.stores.state(batch_id)
    assert batch["status"] == "completed" and batch["counts"]["completed"] == len(lines)
    calls = simulator.calls()[before:]
    assert Counter(call["provider"] for call in calls) == dict.fromkeys(PROVIDERS, EACH)
    for name in PROVIDERS:
        share = batch["counts"]["by_provider"][name]
        output_tokens = sum(call["completion_tokens"] for call in calls if call["provider"] == name)
        assert share["output_tokens"] == output_tokens > 0
        assert share["input_tokens"] == sum(c["prompt_tokens"] for c in calls if c["provider"] == name)
        assert share["cost_usd"] == pytest.approx(output_tokens * PRICES[name] / 1e6)
    texts: dict[str, set[str]] = {}
    for _, raw in engine.stores.results.lines(batch_id, ok=True):
        line = json.loads(raw)
        body = line["response"]["body"]
        assert (body["object"], body["choices"][0]["finish_reason"]) == ("chat.completion", "stop")
        name, _, number = line["custom_id"].partition("-")
        if number == "0":
            assert isinstance(json.loads(body["choices"][0]["message"]["content"])["n"], int)
        else:
            texts.setdefault(number, set()).add(body["choices"][0]["message"]["content"])
        lost = line.get("batchwright", {}).get("warnings", [])
        assert (name == "anthropic") == any(warning.startswith("seed:") for warning in lost)
    assert all(len(same) == 1 for same in texts.values()), "the same prompt, the same words"
