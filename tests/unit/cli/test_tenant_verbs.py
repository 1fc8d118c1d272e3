"""The groups `tenants` and `keys`: what is asked of the server, what is said, and that nothing is erased unasked."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from contextlib import nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from app.cli import key_verbs, tenant_verbs
from app.cli.errors import CliError
from app.cli.main import app
from app.client.calls import HttpCall
from workers.core.tenancy import LIMIT_NAMES

KEY_ID = f"key_{'0' * 31}1"
SECRET = "bw_" + "s" * 49
LIMITS: dict[str, Any] = dict.fromkeys(LIMIT_NAMES)


def tenant(name: str = "acme", **changed: Any) -> dict[str, Any]:
    said: dict[str, Any] = {
        "object": "tenant",
        "id": name,
        "display_name": None,
        "weight": 1.0,
        "retention_days": None,
    }
    said |= {
        "limits": LIMITS,
        "max_cost_usd_per_month": None,
        "created_at": 1_700_000_000,
        "erasing_since": None,
    }
    return said | changed


def key(**changed: Any) -> dict[str, Any]:
    said: dict[str, Any] = {
        "object": "api_key",
        "id": KEY_ID,
        "tenant": "acme",
        "name": "ci",
        "prefix": "bw_sssss",
    }
    said |= {"scopes": ["read"], "status": "active", "created_at": 1_700_000_000, "expires_at": None}
    return said | {"revoked_at": None, "last_used_at": None, "rotated_from": None} | changed


class Server:
    """Gives one reply after the other and remembers what it was asked."""

    def __init__(self, *replies: Mapping[str, Any]) -> None:
        self.replies, self.asked = list(replies), list[HttpCall[Any]]()

    def call(self, asked: HttpCall[Any]) -> Any:
        self.asked.append(asked)
        return asked.read(self.replies.pop(0))


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Any:
    def to(*replies: Mapping[str, Any]) -> Server:
        server = Server(*replies)
        for verbs in (tenant_verbs, key_verbs):
            monkeypatch.setattr(verbs, "load", lambda: None)
            monkeypatch.setattr(verbs, "named_server", lambda settings: nullcontext(server))
        return server

    return to


@dataclass(frozen=True)
class Run:
    exit_code: object
    stdout: str
    stderr: str


@cache
def command() -> Any:
    return typer.main.get_command(app)  # making it takes longer than most tests


def run(*args: str) -> Run:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
        command().main(list(args))
    return Run(end.value.code, out.getvalue(), err.getvalue())


def page(*rows: Mapping[str, Any], more: bool = False) -> dict[str, Any]:
    return {"data": list(rows), "has_more": more, "last_id": rows[-1]["id"] if rows else None}


def test_flags_become_the_words_of_the_server_and_none_takes_back(serve: Any) -> None:
    server = serve(tenant(), tenant())
    limits = ("--requests-per-minute", "1,000", "--max-storage-bytes", "5_000")
    assert run("tenants", "create", "acme", "--weight", "2.5", *limits).exit_code == 0
    assert run("tenants", "set", "acme", "--weight", "none", "--max-concurrency", "none").exit_code == 0
    made, changed = server.asked
    assert (made.method, made.path, made.repeatable) == ("POST", "/v1/tenants", False)
    limits_set = {"requests_per_minute": 1000, "max_storage_bytes": 5000}
    assert made.json == {"id": "acme", "weight": 2.5, "limits": limits_set}
    assert (changed.method, changed.path) == ("PATCH", "/v1/tenants/acme")
    assert changed.json == {"weight": None, "limits": {"max_concurrency": None}}


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--weight", "much"),
        ("--max-concurrency", "1.5"),
        # JSON has no word for these but null, which would take the ceiling off.
        *(("--max-cost-usd-per-month", text) for text in ("nan", "inf", "1e999")),
        # Two and a half for many people, and no 250 for anybody.
        ("--max-cost-usd-per-month", "2,50"),
    ],
)
def test_a_change_of_nothing_or_by_no_number_is_not_sent(serve: Any, flags: tuple[str, ...]) -> None:
    server = serve()
    assert run("tenants", "set", "acme", *flags).exit_code == 2
    assert server.asked == []


def test_the_list_is_read_to_its_end_and_shows_what_is_not_limited(serve: Any) -> None:
    first = tenant("a", limits=LIMITS | {"max_concurrency": 8}, max_cost_usd_per_month=20.0)
    server = serve(page(first, more=True), page(tenant("b", erasing_since=1_700_000_000)))
    rows = run("tenants", "list").stdout.splitlines()
    assert rows[-2].split() == ["a", "1", "-", "-", "-", "8", "-", "-", "$20.00"]
    assert rows[-1].strip().startswith("b (being erased)")
    assert [asked.params.get("after") for asked in server.asked] == [None, "a"]


def test_a_tenant_is_shown_with_every_limit_by_name(serve: Any) -> None:
    serve(tenant(limits=LIMITS | {"max_storage_bytes": 10**9}, retention_days=7.0, display_name="Acme"))
    said = run("tenants", "show", "acme").stdout
    assert "1.0 GB" in said and "7 days" in said and said.count("no limit") == 5 and "Acme" in said


@pytest.mark.parametrize(("typed", "sent"), [("acme\n", 1), ("yes\n", 0), ("\n", 0)])
def test_erasing_wants_the_name_again(
    serve: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], typed: str, sent: int
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    server = serve(tenant(), {"id": "acme", "gone": False})
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    code = tenant_verbs.erase("acme", yes=False, as_json=False)
    assert (code == 0) == bool(sent)
    assert [asked.method for asked in server.asked] == ["GET", "DELETE"][: 1 + sent]
    asked_for = capsys.readouterr().err
    assert all(word in asked_for for word in ("batches", "files", "results", "keys"))


def test_nothing_is_erased_where_nobody_can_answer_or_the_first_tenant_is_meant(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(tenant(), tenant(), {"id": "acme", "gone": True})
    monkeypatch.setattr("sys.stdin", io.StringIO())
    refused = run("tenants", "erase", "acme")
    assert refused.exit_code == 2 and "--yes" in refused.stderr
    assert run("tenants", "erase", "default", "--yes").exit_code == 2
    assert [asked.method for asked in server.asked] == ["GET"]
    done = run("tenants", "erase", "acme", "--yes", "--json")
    assert json.loads(done.stdout)["gone"] is True


def test_a_new_key_is_all_of_stdout_and_its_id_goes_to_stderr(serve: Any) -> None:
    server = serve(key(key=SECRET))
    result = run("keys", "create", "--tenant", "acme", "--scope", "read", "--expires", "30d", "--name", "ci")
    assert result.stdout == f"{SECRET}\n"
    assert SECRET not in result.stderr and KEY_ID in result.stderr
    assert server.asked[0].json == {
        "name": "ci",
        "tenant": "acme",
        "expires_in_s": 30 * 86_400,
        "scopes": ["read"],
    }
    assert not server.asked[0].repeatable


def test_a_key_is_rotated_with_grace_and_revoked_by_its_id(serve: Any) -> None:
    server = serve(key(key=SECRET, rotated_from=KEY_ID), key(status="revoked"))
    assert run("keys", "rotate", KEY_ID, "--grace", "10m").stdout == f"{SECRET}\n"
    assert "5 s" in run("keys", "revoke", KEY_ID).stdout
    rotated, revoked = server.asked
    assert (rotated.path, rotated.json) == (f"/v1/keys/{KEY_ID}/rotate", {"grace_s": 600})
    assert (revoked.method, revoked.path) == ("DELETE", f"/v1/keys/{KEY_ID}")


@pytest.mark.parametrize("verb", ["rotate", "revoke"])
def test_a_key_in_its_ids_place_is_neither_sent_nor_shown(serve: Any, verb: str) -> None:
    server = serve()
    result = run("keys", verb, SECRET)
    assert result.exit_code == 2 and server.asked == []
    assert SECRET[3:] not in result.stdout + result.stderr


def test_the_list_shows_keys_that_work_and_with_all_the_others(serve: Any) -> None:
    rows = (key(), key(id=KEY_ID.replace("1", "2"), status="revoked", revoked_at=1_700_000_000))
    serve(page(*rows), page(*rows), page(*rows))
    working, everything = run("keys", "list").stdout, run("keys", "list", "--all").stdout
    assert "bw_sssss..." in working and "revoked" not in working
    assert "revoked" in everything
    assert len(json.loads(run("keys", "list", "--all", "--json").stdout)) == 2


@given(number=st.integers(1, 1000), unit=st.sampled_from("smhdw"))
def test_a_time_is_its_number_of_its_unit(number: int, unit: str) -> None:
    each_s = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}[unit]
    assert key_verbs.seconds("--expires", f"{number}{unit}", 0, 10**9) == number * each_s


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1.5h", "30 d", "8d"])
def test_another_time_or_one_outside_the_bounds_is_refused(text: str) -> None:
    with pytest.raises(CliError, match="--grace"):
        key_verbs.seconds("--grace", text, 0, 7 * 86_400)
