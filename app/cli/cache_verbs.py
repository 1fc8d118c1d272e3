"""The verbs of the group `cache`: how the cache does, and clearing it after asking."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from app.cli import report, words
from app.cli.batch_verbs import load
from app.cli.errors import NOT_REACHED, OK, WRONG_INPUT, CliError
from app.cli.session import named_server

_COST = "whoever asks the same again calls and pays the provider again"


def stats(*, as_json: bool) -> int:
    """Hits and misses over all processes, and how full the cache is."""
    with named_server(load()) as client:
        found = client.cache_stats()
    if as_json:
        report.print_json(found)
        return OK
    if found["away"]:
        print("the cache Redis does not answer: every request is asked anew", file=sys.stderr)
        return NOT_REACHED
    rows = [
        _row("today", found["today"]),
        _row("last 7 days", found["last_7_days"]),
    ]
    names = ("", "hit rate", "hits", "misses", "kept", "too large", "unreadable", "early", "compressed")
    spare = ("early", "unreadable", "too large", "compressed")
    report.print_table(names, rows, right=names[1:], spare=spare)
    report.print_fields(
        [*_fullness(found), *([] if found["enabled"] else [("note", "cache.enabled is off")])]
    )
    return OK


def clear(*, prefix: str | None, tenant: str | None, yes: bool, as_json: bool) -> int:
    """Forget answers; on a terminal only after a yes."""
    if prefix is not None and tenant is not None:
        raise CliError("--prefix and --tenant do not go together", hint="a tenant's answers go all at once")
    meant = f"answers whose keys begin with {prefix}" if prefix else f"the answers of tenant {tenant}"
    what = meant if prefix or tenant else "all cached answers"
    if not yes and not _agreed(what):
        print("nothing was cleared", file=sys.stderr)
        return WRONG_INPUT
    with named_server(load()) as client:
        done = client.clear_cache(prefix=prefix, tenant=tenant)
    if as_json:
        report.print_json(done)
    elif done["entries"] is None:
        print(
            f"{words.clean(what)} are out of reach (generation {done['generation']}), within 10 s everywhere"
        )
    else:
        print(f"{words.things(done['entries'], 'cached answer')} cleared")
    if not as_json and done["entries"] != 0:
        print(_COST, file=sys.stderr)
    return OK


def _agreed(what: str) -> bool:
    if not sys.stdin.isatty():
        raise CliError("nobody is there to ask", hint=f"say --yes to clear {what}")
    print(f"This clears {words.clean(what)}; results of batches stay.", file=sys.stderr)
    print(_COST, file=sys.stderr)
    print("Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _row(name: str, counts: Mapping[str, Any]) -> tuple[str, ...]:
    rate, raw = counts["hit_rate"], counts["raw_bytes"]
    return (
        name,
        "-" if rate is None else f"{rate:.1%}",
        *(words.short(counts[each]) for each in ("hits", "misses", "kept", "too_large", "corrupt", "early")),
        f"{words.size(raw)} to {words.size(counts['packed_bytes'])}" if raw else "-",
    )


def _fullness(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    at_least = "" if found["scan_complete"] else "at least "
    kinds = ", ".join(f"{at_least}{words.count(n)} {kind}" for kind, n in found["entries_by_scan"].items())
    rows = [("entries", f"{kinds} (all keys: {words.count(found['keys_by_dbsize'])})")]
    if found["memory_used_bytes"] is None:
        return [*rows, ("memory", "the server does not tell")]
    limit = words.size(found["memory_limit_bytes"]) if found["memory_limit_bytes"] else "no limit"
    return [
        *rows,
        ("memory", f"{words.size(found['memory_used_bytes'])} of {limit}"),
        (
            "when full",
            f"{found['eviction_policy']}; {words.things(found['evicted_keys'], 'key')} evicted so far",
        ),
    ]
