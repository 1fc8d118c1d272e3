"""`batchwright estimate`: money before anything is sent or started."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from app.cli import estimate as verb
from app.cli.main import app
from workers.core.estimate import Estimate

CHAT = "/v1/chat/completions"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, no keys, no stack."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "BATCHWRIGHT_API_URL", "BATCHWRIGHT_CONFIG", "OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY",
        "GEMINI_API_KEY", "GOOGLE_API_KEY", "OLLAMA_HOST",
    ):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BATCHWRIGHT_DATA_DIR", str(tmp_path / "data"))
    return tmp_path


def write(folder: Path, name: str, *requests: dict[str, Any]) -> str:
    lines = [
        {
            "custom_id": str(number),
            "method": "POST",
            "url": CHAT,
            "body": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 10} | body,
        }
        for number, body in enumerate(requests)
    ]
    (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return name


def call(*args: str) -> Result:
    return CliRunner().invoke(app, ["estimate", *args])


def numbers(*args: str) -> dict[str, Any]:
    result = call(*args, "--json")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_file_is_priced_by_model_without_any_key_and_starts_nothing(folder: Path) -> None:
    name = write(
        folder, "in.jsonl", {"model": "gpt-4o-mini"}, {"model": "gpt-4o-mini"}, {"model": "claude-haiku"}
    )
    found = numbers(name)
    assert (found["requests"], found["duplicates"], found["uncapped"], found["cached"]) == (3, 1, 0, None)
    assert [(row["provider"], row["requests"]) for row in found["models"]] == [
        ("openai", 2),
        ("anthropic", 1),
    ]
    mini = found["models"][0]
    assert mini["cost_usd"] == pytest.approx((mini["input_tokens"] * 0.15 + 10 * 0.6) / 1e6, abs=1e-6)
    assert mini["saved_usd"] == mini["cost_usd"]
    assert found["cost_usd"] == pytest.approx(sum(row["cost_usd"] for row in found["models"]), abs=2e-6)
    assert not (folder / "data").exists()


def test_equal_requests_of_two_files_are_counted_once(folder: Path) -> None:
    one, two = (write(folder, name, {"model": "gpt-4o-mini"}) for name in ("a.jsonl", "b.jsonl"))
    assert numbers(one, two)["duplicates"] == 1


def test_an_unknown_price_is_null_and_the_known_part_is_shown(folder: Path) -> None:
    name = write(folder, "in.jsonl", {"model": "gpt-4o-mini"}, {"model": "gpt-99-nobody"})
    found = numbers(name)
    assert found["cost_usd"] is None and found["known_cost_usd"] > 0
    assert found["models"][1]["cost_usd"] is None
    shown = call(name).stdout
    assert "unknown" in shown
    assert "a price is unknown; the others cost" in shown
    assert '[prices."MODEL"]' in shown


def test_an_own_price_counts_even_for_the_simulator(folder: Path) -> None:
    (folder / "batchwright.toml").write_text('[prices."sim-*"]\ninput_usd = 0\noutput_usd = 1_000_000\n')
    name = write(folder, "in.jsonl", {"model": "sim-small"})
    assert numbers(name)["cost_usd"] == pytest.approx(10.0)
    assert call(name).stdout.splitlines()[2].split()[-2] == "$10.00"


def test_one_model_for_all_lines_takes_the_place_of_theirs(folder: Path) -> None:
    name = write(folder, "in.jsonl", {"model": "gpt-4o"}, {"model": "nobody-knows-it"})
    found = numbers(name, "--model", "gpt-4o-mini")
    assert [row["model"] for row in found["models"]] == ["gpt-4o-mini"]


def test_a_file_that_a_run_would_refuse_is_refused_with_its_place(folder: Path) -> None:
    write(folder, "in.jsonl", {"model": "gpt-4o-mini"}, {"model": "llama9"})
    result = call("in.jsonl")
    assert result.exit_code == 2
    assert "in.jsonl:2: body.model: no provider answers the model 'llama9'" in result.stderr


def test_a_person_reads_sums_and_what_they_leave_out(folder: Path) -> None:
    name = write(
        folder,
        "in.jsonl",
        {"model": "gpt-4o-mini"},
        {"model": "gpt-4o-mini"},
        {"model": "gpt-4o", "max_tokens": None},
    )
    shown = call(name).stdout
    assert "openai/gpt-4o-mini" in shown
    assert "all" in shown
    assert "1 request repeats an earlier one: paid once" in shown
    assert "saved by repeats and the cache: <$0.0001" in shown
    assert "1 request names no cap of the output (max_tokens)" in shown
    assert "answers already cached: not known, no stack answers" in shown
    assert "openai is not set up here: a run needs OPENAI_API_KEY" in shown
    assert all(len(line) <= 100 for line in shown.splitlines())


def test_a_server_elsewhere_may_know_models_that_nobody_knows_here(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHWRIGHT_API_URL", "http://127.0.0.1:9")
    name = write(folder, "in.jsonl", {"model": "llama9"})
    (row,) = numbers(name)["models"]
    assert (row["provider"], row["model"], row["cost_usd"]) == ("?", "llama9", None)
    shown = call(name).stdout
    assert "answers already cached: not known, no stack answers\n" in shown
    assert "is not set up here" not in shown


def test_cached_answers_are_said_where_somebody_knows_them() -> None:
    assert "answers already cached: 1,234" in verb.remarks(Estimate(), cached=1234)
    assert verb.as_dict({}, cached=7)["cached"] == 7


@pytest.mark.parametrize(("simulated", "cached"), [(True, 1), (False, 2)])
def test_what_the_simulator_has_answered_is_no_cached_answer_of_a_real_provider(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, simulated: bool, cached: int
) -> None:
    # Given a server that has an answer to everything,
    class Server:
        def cached(self, endpoint: str, bodies: list[Any], *, model: str | None) -> list[bool]:
            return [True] * len(bodies)

    monkeypatch.setattr(verb, "is_own_stack_needed", lambda settings: False)
    monkeypatch.setattr(verb, "is_simulated", lambda settings: simulated)
    monkeypatch.setattr(verb, "named_server", lambda settings: nullcontext(Server()))
    # when it gives all answers by the simulator, then only those of simulated models count, and it is said.
    result = call(write(folder, "in.jsonl", {"model": "gpt-4o-mini"}, {"model": "sim-small"}), "--json")
    rows = {row["provider"]: row["cached"] for row in json.loads(result.stdout)["models"]}
    assert (sum(rows.values()), rows["sim"]) == (cached, 1)
    assert ("lets the simulator answer every model" in result.stderr) is simulated
