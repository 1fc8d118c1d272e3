"""`cache stats` and `cache clear`: what they say, and that nothing is cleared before somebody has agreed."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import cache_verbs
from app.cli.cache_verbs import clear, stats
from app.cli.errors import CliError
from app.cli.main import app
from workers.store.cache_stats import CacheCounts, CacheStats

FULL = CacheStats(
    today=CacheCounts(hits=3, misses=1, kept=1, raw_bytes=9_000, packed_bytes=900),
    last_7_days=CacheCounts(hits=1_500_000, misses=500_000, corrupt=2),
    keys_by_dbsize=50_000,
    entries_by_scan={"ai": 19_999, "embedding": 1},
    memory_used_bytes=12_000_000,
    memory_limit_bytes=0,
    eviction_policy="allkeys-lru",
    evicted_keys=1,
)


class Server:
    """Answers as the API does."""

    def __init__(self, found: CacheStats = FULL, *, entries: int | None = 7, enabled: bool = True) -> None:
        self.said = {"object": "cache", "enabled": enabled, **found.as_dict()}
        self.entries, self.asked = entries, list[tuple[str | None, str | None]]()

    def cache_stats(self) -> Mapping[str, Any]:
        return self.said

    def clear_cache(self, *, prefix: str | None, tenant: str | None) -> Mapping[str, Any]:
        self.asked.append((prefix, tenant))
        return {"entries": self.entries, "generation": 4, "prefix": prefix, "tenant": tenant}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def serve(server: Server, monkeypatch: pytest.MonkeyPatch, typed: str | None = None) -> Server:
    monkeypatch.setattr(cache_verbs, "load", lambda: None)
    monkeypatch.setattr(cache_verbs, "named_server", lambda settings: nullcontext(server))
    monkeypatch.setattr("sys.stdin", io.StringIO() if typed is None else Terminal(typed))
    return server


def test_stats_show_rates_sizes_and_what_the_server_does_when_it_is_full(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(Server(enabled=False), monkeypatch)
    assert stats(as_json=False) == 0
    said = capsys.readouterr().out
    rows = {line.strip().split("  ")[0]: line.split() for line in said.splitlines()}
    assert rows["today"][1:] == ["75.0%", "3", "1", "1", "0", "0", "0", "9.0", "kB", "to", "900", "B"]
    assert rows["last 7 days"][3:] == ["75.0%", "1.5M", "500k", "0", "0", "2", "0", "-"]
    assert "at least 19,999 ai, at least 1 embedding (all keys: 50,000)" in said
    assert "12 MB of no limit" in said
    assert "allkeys-lru; 1 key evicted so far" in said
    assert "cache.enabled is off" in said


def test_stats_do_not_invent_what_the_server_does_not_tell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(Server(CacheStats(keys_by_dbsize=0, entries_by_scan={"ai": 0}, scan_complete=True)), monkeypatch)
    assert stats(as_json=False) == 0
    said = capsys.readouterr().out
    assert "the server does not tell" in said
    assert "0 ai (all keys: 0)" in said


def test_a_cache_that_is_away_is_said_and_is_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(Server(CacheStats(away=True)), monkeypatch)
    assert stats(as_json=False) == 3
    assert "does not answer" in capsys.readouterr().err
    assert stats(as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["away"]


@pytest.mark.parametrize("typed", ["y\n", "Yes\n", None])
def test_after_a_yes_it_clears_and_says_what_that_costs(
    typed: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve(Server(), monkeypatch, typed)
    assert clear(prefix="ai", tenant=None, yes=typed is None, as_json=False) == 0
    said = capsys.readouterr()
    assert server.asked == [("ai", None)]
    assert said.out == "7 cached answers cleared\n"
    assert "pays the provider again" in said.err


@pytest.mark.parametrize("typed", ["\n", "n\n", ""])
def test_anything_but_a_yes_clears_nothing(
    typed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve(Server(), monkeypatch, typed)
    assert clear(prefix=None, tenant=None, yes=False, as_json=False) == 2
    assert server.asked == []
    assert "all cached answers" in capsys.readouterr().err


def test_where_nobody_can_answer_it_wants_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(Server(), monkeypatch)
    with pytest.raises(CliError) as caught:
        clear(prefix=None, tenant="two", yes=False, as_json=True)
    assert caught.value.hint == "say --yes to clear the answers of tenant two"
    assert server.asked == []


def test_a_tenants_answers_are_said_to_be_out_of_reach(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve(Server(entries=None), monkeypatch)
    assert clear(prefix=None, tenant="two", yes=True, as_json=False) == 0
    assert server.asked == [(None, "two")]
    assert "the answers of tenant two are out of reach (generation 4)" in capsys.readouterr().out


def test_json_is_what_the_api_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(Server(entries=0), monkeypatch)
    assert clear(prefix=None, tenant=None, yes=True, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["entries"] == 0
    assert stats(as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["last_7_days"]["hit_rate"] == 0.75


def test_the_group_alone_shows_its_verbs_and_hands_its_flags_on(monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(Server(), monkeypatch)
    alone = CliRunner().invoke(app, ["cache"])
    assert (alone.exit_code, "stats" in alone.output, "clear" in alone.output) == (0, True, True)
    done = CliRunner().invoke(app, ["cache", "clear", "--prefix", "ai", "-y", "--json"])
    assert (done.exit_code, json.loads(done.stdout)["entries"]) == (0, 7)
    assert CliRunner().invoke(app, ["cache", "stats"]).exit_code == 0
    assert server.asked == [("ai", None)]


def test_a_prefix_and_a_tenant_do_not_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(Server(), monkeypatch)
    with pytest.raises(CliError, match="do not go together"):
        clear(prefix="ai", tenant="two", yes=True, as_json=False)
    assert server.asked == []
