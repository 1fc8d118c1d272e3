"""The verbs of the group `webhooks`. A secret goes to stdout, once; everything that explains it goes to stderr."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from app.cli import report, words
from app.cli.batch_verbs import load
from app.cli.errors import OK, SOME_FAILED, CliError
from app.cli.session import named_server
from app.client import webhook_calls as calls

Reply = Mapping[str, Any]


def create(url: str, events: Sequence[str], secret: str | None, *, as_json: bool) -> int:
    """Make a webhook."""
    with named_server(load()) as client:
        return _said(client.call(calls.create_webhook(url, events, secret)), as_json=as_json)


def list_(*, as_json: bool) -> int:
    """All of the tenant's."""
    with named_server(load()) as client:
        found = client.call(calls.list_webhooks())["data"]
    if as_json:
        report.print_json(found)
    elif not found:
        print("no webhooks", file=sys.stderr)
    else:
        rows = [(row["id"], _state(row), ", ".join(row["events"]), row["url"]) for row in found]
        report.print_table(("webhook", "state", "events", "url"), rows)
    return OK


def show(webhook_id: str, *, as_json: bool) -> int:
    """One of them."""
    with named_server(load()) as client:
        return _said(client.call(calls.get_webhook(webhook_id)), as_json=as_json)


def change(
    webhook_id: str, url: str | None, events: Sequence[str], enabled: bool | None, *, as_json: bool
) -> int:
    """Another URL, other events, on or off."""
    if url is None and not events and enabled is None:
        raise CliError("nothing to change", hint="give --url, --event, --enable or --disable")
    with named_server(load()) as client:
        return _said(client.call(calls.change_webhook(webhook_id, url, events, enabled)), as_json=as_json)


def rotate(webhook_id: str, secret: str | None, grace_s: int | None, *, as_json: bool) -> int:
    """Sign by another secret."""
    with named_server(load()) as client:
        return _said(client.call(calls.rotate_secret(webhook_id, secret, grace_s)), as_json=as_json)


def remove(webhook_id: str, *, as_json: bool) -> int:
    """Take it away."""
    with named_server(load()) as client:
        found = client.call(calls.remove_webhook(webhook_id))
    if as_json:
        report.print_json(found)
    else:
        print(words.clean(f"{webhook_id}: removed"))
    return OK


def try_out(webhook_id: str, *, as_json: bool) -> int:
    """Send a test event; 1 unless it was taken."""
    with named_server(load()) as client:
        found = client.call(calls.test_webhook(webhook_id))
    if as_json:
        report.print_json(found)
    else:
        came = f"status {found['status']}" if found["delivered"] else found["error"]
        print(words.clean(f"{webhook_id}: {came} after {found['took_ms']} ms"))
        if found["answer"] and not found["delivered"]:
            print(words.clean(found["answer"]))
    return OK if found["delivered"] else SOME_FAILED


def deliveries(*, status: str | None, event: str | None, after: str | None, limit: int, as_json: bool) -> int:
    """One page, newest first."""
    with named_server(load()) as client:
        page = client.call(calls.list_deliveries(status=status, event=event, after=after, limit=limit))
    if as_json:
        report.print_json(page["data"])
        return OK
    if not page["data"]:
        print("no deliveries", file=sys.stderr)
        return OK
    columns = ("delivery", "event", "state", "tries", "last try", "next")
    report.print_table(columns, [_row(each) for each in page["data"]], right=("tries",))
    if page["has_more"]:
        print(f"more with --after {page['last_id']}", file=sys.stderr)
    return OK


def replay(delivery_id: str, *, as_json: bool) -> int:
    """Send it again."""
    with named_server(load()) as client:
        found = client.call(calls.replay_delivery(delivery_id))
    if as_json:
        report.print_json(found)
    else:
        print(words.clean(f"{delivery_id}: is sent again"))
    return OK


def _said(webhook: Reply, *, as_json: bool) -> int:
    if as_json:
        report.print_json(webhook)
        return OK
    rows = [
        ("webhook", webhook["id"]),
        ("url", webhook["url"]),
        ("events", ", ".join(webhook["events"])),
        ("state", _state(webhook)),
        ("made", words.moment(webhook["created_at"])),
    ]
    if webhook["old_secret_until"]:
        rows.append(("old secret", f"signs until {words.moment(webhook['old_secret_until'])}"))
    if "secret" in webhook:
        rows.append(("secret", webhook["secret"]))
    report.print_fields(rows)
    if "secret" in webhook:
        print("the secret is shown only now; the receiver needs it", file=sys.stderr)
    return OK


def _state(webhook: Reply) -> str:
    return "on" if webhook["enabled"] else f"off ({webhook['disabled_reason'] or 'by its owner'})"


def _row(delivery: Reply) -> tuple[str, ...]:
    tries = delivery["attempts"]
    last = tries[-1] if tries else None
    came = "" if last is None else last["error"] or f"status {last['status']}"
    upcoming = words.moment(delivery["next_at"]) if delivery["next_at"] and tries else ""
    return (delivery["id"], delivery["event"], delivery["status"], str(len(tries)), came, upcoming)
