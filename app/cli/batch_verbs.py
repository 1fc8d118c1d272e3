"""The verbs about batches on a server: submit, watch, cancel, pause, resume, ls, show."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from app.cli import live, progress, report, summary, words
from app.cli.follow import Followed, Follower
from app.cli.preflight import Rules, check_file
from app.cli.session import ended_by_signals, named_server
from app.cli.summary import Outcome
from app.client.calls import BatchRequest
from app.client.models import BatchInfo

if TYPE_CHECKING:
    from app.client.blocking import Client
    from config.settings import Settings

_SHOWN_PROBLEMS = 20


def load() -> Settings:
    """The settings of this process."""
    from config.settings import load_settings

    return load_settings()


def servers_rules(settings: Settings, model: str | None) -> Rules:
    """How a file for a server is checked before it is sent: who answers which line, the server decides."""
    return Rules(
        model=model,
        choose=None,
        way_out=lambda _: "",
        max_line_bytes=settings.batch.max_line_bytes,
        skip_invalid=settings.batch.invalid_lines == "skip",
    )


def submit(
    files: Sequence[Path], *, model: str | None, cache: bool, max_cost_usd: float | None, as_json: bool
) -> int:
    """Hand files to the server and leave."""
    settings = load()
    rules = servers_rules(settings, model)
    checked = [check_file(path, rules) for path in files]
    with named_server(settings) as client:
        for file in checked:
            request = BatchRequest(
                input_file_id=client.upload(file.path).id,
                endpoint=file.endpoint,
                model=model,
                cache=cache,
                max_cost_usd=max_cost_usd,
                idempotency_key=secrets.token_hex(16),
            )
            batch = client.create_batch(request)
            if as_json:
                report.print_json(summary.batch_line(batch))
            else:
                print(batch.id)
                shown = words.clean(str(file.path))
                print(f"{shown}: `batchwright watch {batch.id}` shows how it goes", file=sys.stderr)
    return 0


def watch(batch_id: str, *, as_json: bool) -> int:
    """Show a batch until it ends; it does not need anybody to watch."""
    with ended_by_signals(), named_server(load()) as client:
        batch = client.get(batch_id)
        each = Followed(batch.id, batch, time.monotonic(), done_before=batch.done)
        follow_to_end(client, each)
        outcome = outcome_of(client, each)
    if outcome.batch.status == "failed" and not as_json:
        print_problems(outcome.batch)
    report.print_outcomes([outcome], as_json=as_json)
    if not as_json and outcome.batch.output_file_id:
        print(f"`batchwright download {batch.id}` brings the answers here", file=sys.stderr)
    return outcome.exit_code


def follow_to_end(client: Client, each: Followed) -> None:
    """Show a batch until it ends. Whoever stops that learns that the batch does not."""
    try:
        with live.display() as display:
            Follower(client, display).follow([each])
    except (KeyboardInterrupt, SystemExit):
        print(f"the batch goes on; `batchwright watch {each.batch.id}` comes back to it", file=sys.stderr)
        raise


def outcome_of(client: Client, each: Followed) -> Outcome:
    """What came of a batch that was only watched: its files stay on the server."""
    from app.cli.failures import count_failures

    batch, seconds = each.batch, each.seconds or 0.0
    ended_at = batch.raw.get(f"{batch.status}_at")
    if each.done_before == batch.done and ended_at:
        # It had ended before we came: then its own times say how long it took, in whole seconds.
        each.done_before, seconds = 0, float(ended_at - batch.created_at)
    failures = count_failures(client.lines(batch.error_file_id)) if batch.error_file_id else ()
    return Outcome(each.name, batch, seconds, each.done_before, failures=failures)


def change(batch_id: str, verb: str, *, as_json: bool) -> int:
    """cancel or pause a batch."""
    with named_server(load()) as client:
        return _said({"cancel": client.cancel, "pause": client.pause}[verb](batch_id), as_json=as_json)


def resume(batch_id: str, *, max_cost_usd: float | None, as_json: bool) -> int:
    """Let a paused batch go on, under a new ceiling if one is given."""
    with named_server(load()) as client:
        return _said(client.resume(batch_id, max_cost_usd=max_cost_usd), as_json=as_json)


def set_paused(kind: Literal["provider", "tenant"], name: str, *, paused: bool, as_json: bool) -> int:
    """Pause or resume a provider or a tenant."""
    with named_server(load()) as client:
        found = client.set_paused(kind, name, paused=paused)
    if as_json:
        report.print_json(found)
    elif paused:
        way_out = f"`batchwright resume --{kind} {name}` lets it go on"
        print(words.clean(f"{kind} {name}: paused since {words.moment(found['since'])}; {way_out}"))
    else:
        print(words.clean(f"{kind} {name}: goes on"))
    return 0


def _said(batch: BatchInfo, *, as_json: bool) -> int:
    if as_json:
        report.print_json(summary.batch_line(batch))
    else:
        paused = " (paused)" if batch.stats.paused and not batch.at_ceiling else ""
        print(f"{batch.id}: {summary.status_words(batch)}{paused}")
    return 0


def ls(*, limit: int, after: str | None, as_json: bool) -> int:
    """List batches, newest first."""
    with named_server(load()) as client:
        page = client.list(limit=limit, after=after)
    if as_json:
        report.print_json([summary.batch_line(batch) for batch in page.batches])
        return 0
    if not page.batches:
        print("no batches", file=sys.stderr)
        return 0
    # An id is 38 wide and is never cut; on a narrow terminal the model makes room for it.
    columns = _COLUMNS if report.console().width >= _WIDE else _COLUMNS[:-1]
    rows = [_cells(batch)[: len(columns)] for batch in page.batches]
    report.print_table(columns, rows, right=("done", "failed"), spare=("made", "failed"))
    if page.has_more:
        print(f"more with --after {page.batches[-1].id}", file=sys.stderr)
    return 0


_COLUMNS = ("batch", "state", "done", "failed", "made", "model")
_WIDE = 110


def _cells(batch: BatchInfo) -> tuple[str, ...]:
    return (
        batch.id,
        "paused" if batch.stats.paused and not batch.ended else summary.status_words(batch),
        f"{words.short(batch.done)}/{words.short(batch.total)}",
        words.short(batch.failed),
        words.moment(batch.created_at)[5:16],
        batch.model or "",
    )


def show(batch_id: str, *, as_json: bool) -> int:
    """All there is to know of a batch, and why it does not move, if it does not."""
    with named_server(load()) as client:
        batch = client.get(batch_id)
        waiting = () if batch.ended else client.why(batch_id)
    if as_json:
        reasons = [
            {"kind": each.kind, "provider": each.provider, "shards": each.shards, "since": each.since}
            | {"until": each.until, "text": each.text}
            for each in waiting
        ]
        report.print_json({**summary.batch_line(batch), "waiting_for": reasons})
        return 0
    outcome = Outcome(batch.id, batch, 0.0)
    skipped = ("time",)
    rows = [row for row in summary.fields(outcome) if row[0] not in skipped]
    rows.append(("endpoint", batch.endpoint))
    if batch.model or batch.total:  # nobody knows the models of a file that has not been checked
        rows.append(("model", batch.model or "several"))
    rows += [("made", words.moment(batch.created_at))]
    rows += _times(batch)
    rows += [("retry of", batch.parent_id)] if batch.parent_id else []
    rows += [("retried by", ", ".join(batch.children))] if batch.children else []
    if batch.stats.simulated:
        rows.append(("note", progress.SIMULATED))
    rows += [("waiting", progress.waiting_text(each, batch.id)) for each in waiting]
    report.print_fields(rows)
    print_problems(batch)
    return 0


def _times(batch: BatchInfo) -> list[tuple[str, str]]:
    names = ("in_progress_at", "completed_at", "failed_at", "expired_at", "cancelled_at", "expires_at")
    words_for = {"in_progress_at": "started", "expires_at": "must end by"}
    return [
        (words_for.get(name, name.removesuffix("_at")), words.moment(float(batch.raw[name])))
        for name in names
        if batch.raw.get(name) and not (name == "expires_at" and batch.ended)
    ]


def print_problems(batch: BatchInfo) -> None:
    """Why a batch was refused, line by line."""
    for problem in batch.problems[:_SHOWN_PROBLEMS]:
        place = f"line {problem.line}" if problem.line else ""
        parts = [part for part in (place, problem.param, problem.message) if part]
        print(f"error: {words.one_line(': '.join(parts))}", file=sys.stderr)
    if len(batch.problems) > _SHOWN_PROBLEMS:
        print(f"       and {len(batch.problems) - _SHOWN_PROBLEMS} more; --json has them", file=sys.stderr)
