"""The verbs of the group `tenants`. The server decides; here flags become its words, and its words a table."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from app.cli import report, words
from app.cli.batch_verbs import load
from app.cli.errors import OK, WRONG_INPUT, CliError
from app.cli.session import named_server
from app.client import tenant_calls as calls

PAGE = 1000
_NONE = "none"
_LIMITS = (
    "requests_per_minute",
    "tokens_per_minute",
    "max_concurrency",
    "max_queued_items",
    "max_storage_bytes",
)
_THOUSANDS = re.compile(r"[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?")
_SUMS = ("weight", "retention_days", "max_cost_usd_per_month")


def create(name: str, given: Mapping[str, str | None], *, as_json: bool) -> int:
    """Make a tenant."""
    settled = settled_by({flag: text for flag, text in given.items() if text != _NONE})
    with named_server(load()) as client:
        made = client.call(calls.create_tenant(name, settled))
    _print(made, as_json=as_json)
    if not as_json:
        print(f"`batchwright keys create --tenant {name}` makes its first key", file=sys.stderr)
    return OK


def list_(*, as_json: bool) -> int:
    """All that the key may see, by name."""
    rows: list[Mapping[str, Any]] = []
    with named_server(load()) as client:
        more, after = True, None
        while more:
            page = client.call(calls.list_tenants(after=after, limit=PAGE))
            rows += page["data"]
            more, after = page["has_more"], page["last_id"]
    if as_json:
        report.print_json(rows)
        return OK
    columns = (
        "tenant",
        "weight",
        "kept",
        "requests/min",
        "tokens/min",
        "at once",
        "queued",
        "storage",
        "month",
    )
    report.print_table(columns, [_row(each) for each in rows], right=columns[1:])
    return OK


def show(name: str, *, as_json: bool) -> int:
    """What is settled for one."""
    with named_server(load()) as client:
        found = client.call(calls.get_tenant(name))
    _print(found, as_json=as_json)
    return OK


def settle(name: str, given: Mapping[str, str | None], *, as_json: bool) -> int:
    """Change what is named. Raises CliError if nothing is."""
    settled = settled_by(given)
    if not settled:
        raise CliError(
            "nothing is named", hint="see `batchwright tenants set --help` for what can be settled"
        )
    with named_server(load()) as client:
        found = client.call(calls.settle_tenant(name, settled))
    _print(found, as_json=as_json)
    return OK


def erase(name: str, *, yes: bool, as_json: bool) -> int:
    """Erase one, on a terminal only after its name was typed again."""
    if name == "default":
        raise CliError("the tenant 'default' cannot be erased", hint="its keys govern all others")
    with named_server(load()) as client:
        client.call(calls.get_tenant(name))  # who has mistyped it is told before they are asked
        if not yes and not _agreed(name):
            print("nothing was erased", file=sys.stderr)
            return WRONG_INPUT
        done = client.call(calls.erase_tenant(name))
    if as_json:
        report.print_json(done)
    elif done["gone"]:
        print(f"{name} is erased")
    else:
        print(f"{name} is being erased; its keys work no more")
        print(f"`batchwright tenants show {name}` finds it until the last of it has gone", file=sys.stderr)
    return OK


def settled_by(given: Mapping[str, str | None]) -> dict[str, Any]:
    """The request's body for these flags: `none` is null, numbers are numbers, limits lie together."""
    settled: dict[str, Any] = {}
    for flag, text in given.items():
        if text is None:
            continue
        if flag in _LIMITS:
            settled.setdefault("limits", {})[flag] = _value(flag, text, int)
        else:
            settled[flag] = _value(flag, text, float) if flag in _SUMS else None if text == _NONE else text
    return settled


def _value(flag: str, text: str, number: type[int | float]) -> float | None:
    if text == _NONE:
        return None
    try:
        # 2,50 is two and a half to many: a comma stands between thousands or nowhere.
        found = number(text.replace(",", "") if _THOUSANDS.fullmatch(text) else text)
        if not math.isfinite(found):  # JSON has no word for it but null, which takes a limit back
            raise ValueError(text)
        return found
    except ValueError:
        kind = "a whole number" if number is int else "a number"
        option = "--" + flag.replace("_", "-")
        raise CliError(f"{option} is {kind} or `none`, got {words.one_line(text, 40)!r}") from None


def _agreed(name: str) -> bool:
    if not sys.stdin.isatty():
        raise CliError("nobody is there to ask", hint=f"say --yes to erase {words.clean(name)}")
    print(
        f"This erases the tenant {words.clean(name)}: all its batches, also those that run, its files, results, "
        "cached answers and keys. Nothing brings them back.",
        file=sys.stderr,
    )
    print("Type its name to go on: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() == name


def _print(tenant: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        report.print_json(tenant)
        return
    limits, kept = tenant["limits"], tenant["retention_days"]
    rows = [
        ("tenant", tenant["id"]),
        *([("called", tenant["display_name"])] if tenant["display_name"] else []),
        ("made", words.moment(tenant["created_at"])),
        ("weight", f"{tenant['weight']:g}"),
        ("kept", "as long as the server keeps batches" if kept is None else f"{kept:g} days after their end"),
        ("requests a minute", _limit(limits["requests_per_minute"])),
        ("tokens a minute", _limit(limits["tokens_per_minute"])),
        ("calls at once", _limit(limits["max_concurrency"])),
        ("queued items", _limit(limits["max_queued_items"])),
        ("storage", _limit(limits["max_storage_bytes"], words.size)),
        ("cost a month", _limit(tenant["max_cost_usd_per_month"], words.money)),
    ]
    if tenant["erasing_since"] is not None:
        rows.append(("erasing since", words.moment(tenant["erasing_since"])))
    report.print_fields(rows)


def _row(tenant: Mapping[str, Any]) -> tuple[str, ...]:
    limits, kept = tenant["limits"], tenant["retention_days"]
    return (
        tenant["id"] + (" (being erased)" if tenant["erasing_since"] is not None else ""),
        f"{tenant['weight']:g}",
        "-" if kept is None else f"{kept:g} d",
        *(_short(limits[name]) for name in _LIMITS[:4]),
        _short(limits["max_storage_bytes"], words.size),
        _short(tenant["max_cost_usd_per_month"], words.money),
    )


def _limit(value: Any, show: Callable[[Any], str] = words.count) -> str:
    return "no limit" if value is None else show(value)


def _short(value: Any, show: Callable[[Any], str] = words.short) -> str:
    return "-" if value is None else show(value)
