"""The verbs of the group `keys`. A new key goes to stdout, once; nothing here keeps or repeats one."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from app.cli import report, words
from app.cli.batch_verbs import load
from app.cli.errors import OK, CliError
from app.cli.session import named_server
from app.client import tenant_calls as calls
from workers.core.api_keys import MAX_GRACE_S, MAX_LIFE_S, MIN_LIFE_S, is_key_id

PAGE = 1000
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_TIME = re.compile(r"([0-9]{1,9})([smhdw])")


def create(
    *, tenant: str | None, scopes: Sequence[str], expires: str | None, name: str, as_json: bool
) -> int:
    """Make a key."""
    expires_in_s = None if expires is None else seconds("--expires", expires, MIN_LIFE_S, MAX_LIFE_S)
    with named_server(load()) as client:
        made = client.call(
            calls.create_key(name=name, tenant=tenant, scopes=scopes, expires_in_s=expires_in_s)
        )
    _print_new(made, as_json=as_json)
    return OK


def list_(*, tenant: str | None, ended: bool, as_json: bool) -> int:
    """Keys that work, and with `ended` those that did."""
    rows: list[Mapping[str, Any]] = []
    with named_server(load()) as client:
        more, after = True, None
        while more:
            page = client.call(calls.list_keys(tenant=tenant, after=after, limit=PAGE))
            rows += [each for each in page["data"] if ended or each["status"] == "active"]
            more, after = page["has_more"], page["last_id"]
    if as_json:
        report.print_json(rows)
        return OK
    columns = ("id", "tenant", "name", "begins", "scopes", "status", "expires", "last used")
    spare = ("begins", "expires", "last used", "tenant")
    report.print_table(columns, [_row(each) for each in rows], spare=spare)
    return OK


def rotate(key_id: str, *, grace: str | None, as_json: bool) -> int:
    """Make a key in another one's place."""
    _check_id(key_id)
    grace_s = 0 if grace is None else seconds("--grace", grace, 0, MAX_GRACE_S)
    with named_server(load()) as client:
        made = client.call(calls.rotate_key(key_id, grace_s))
    _print_new(made, as_json=as_json)
    ends = f"in {words.duration(grace_s)}" if grace_s else "at once"
    print(f"{key_id} ends {ends}: put the new one wherever that one is in use", file=sys.stderr)
    return OK


def revoke(key_id: str, *, as_json: bool) -> int:
    """End a key."""
    _check_id(key_id)
    with named_server(load()) as client:
        done = client.call(calls.revoke_key(key_id))
    if as_json:
        report.print_json(done)
    else:
        print(f"{key_id} ({words.one_line(done['name'])}) works no more, within 5 s everywhere")
    return OK


def seconds(option: str, text: str, least_s: int, most_s: int) -> int:
    """The seconds of `30d`, `12h`, `10m`. Raises CliError for anything else, and outside the bounds."""
    match = _TIME.fullmatch(text)
    if match is None:
        said = words.one_line(text, 40)
        raise CliError(f"{option} is a number and one of s, m, h, d and w, such as 30d; got {said!r}")
    found_s = int(match[1]) * _UNITS_S[match[2]]
    if not least_s <= found_s <= most_s:
        bounds = f"from {words.duration(least_s)} to {words.duration(most_s)}"
        raise CliError(f"{option} goes {bounds}, got {text}")
    return found_s


def _check_id(key_id: str) -> None:
    """Keep a key that stands in its id's place from being sent or shown."""
    if not is_key_id(key_id):
        raise CliError(
            "that is not the id of a key",
            hint="an id is key_ and 32 digits; `batchwright keys list` shows them",
        )


def _print_new(made: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        report.print_json(made)
        return
    print(made["key"])
    until = f", until {words.moment(made['expires_at'])}" if made["expires_at"] else ""
    print(
        f"{made['id']} for tenant {words.clean(made['tenant'])}: {', '.join(made['scopes'])}{until}; "
        "the key is not shown again",
        file=sys.stderr,
    )


def _row(key: Mapping[str, Any]) -> tuple[str, ...]:
    status = key["status"]
    if status == "active" and key["revoked_at"] is not None:
        status = f"until {words.moment(key['revoked_at'])}"
    return (
        key["id"],
        key["tenant"],
        words.one_line(key["name"], 40),
        f"{key['prefix']}..." if key["prefix"] else "-",
        ", ".join(key["scopes"]),
        status,
        words.moment(key["expires_at"]) if key["expires_at"] else "never",
        words.moment(key["last_used_at"]) if key["last_used_at"] else "never",
    )
