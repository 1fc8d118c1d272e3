"""The verbs `db init` and `db check`: what the indexes are, what was made, and what is to be done by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from app.cli import live, report, words
from app.cli.batch_verbs import load
from app.cli.errors import OK, SOME_FAILED
from app.cli.session import ended_by_signals
from app.cli.which_database import away_is_not_reached, which_database

if TYPE_CHECKING:
    from app.cli.live import Display
    from app.doctor.indexes_check import Checked, Db, IndexFinding


def init(*, as_json: bool) -> int:
    """Make what is missing; 1 if something is lacking all the same."""
    from app.doctor import indexes_check

    made: list[tuple[str, str]] = []
    with _database("making indexes", may_be_new=True) as (db, display):

        def tell(collection: str, indexes: Sequence[str]) -> None:
            display.detail(f"{collection}: {', '.join(indexes)}")
            made.extend((collection, index) for index in indexes)

        lacking = indexes_check.make_missing(db, tell)
    failed = {(each.collection, each.name) for each in lacking}
    made = [each for each in made if each not in failed]
    if as_json:
        rows = [{"collection": collection, "name": index} for collection, index in made]
        report.print_json({"ok": not lacking, "made": rows, "lacking": [asdict(each) for each in lacking]})
    else:
        if made:
            report.print_table(("made in", "index"), made)
        print(f"{words.things(len(made), 'index', 'indexes')} made" if made else "every index was there")
        _print_wrong(lacking)
    return SOME_FAILED if lacking else OK


def check(*, as_json: bool) -> int:
    """Show what is there; 1 if something is lacking."""
    from app.doctor import indexes_check

    with _database("looking at the indexes", may_be_new=False) as (db, _):
        found = indexes_check.look(db)
    if as_json:
        report.print_json(_as_dict(found))
    else:
        _print_sizes(found)
        _print_wrong([each for each in found.indexes if each.state != "ok"])
        good = sum(each.state == "ok" for each in found.indexes)
        print(f"{words.things(good, 'index', 'indexes')} as they should be, {len(found.lacking)} lacking")
    return SOME_FAILED if found.lacking else OK


@contextmanager
def _database(doing: str, *, may_be_new: bool) -> Iterator[tuple[Db, Display]]:
    from app.backup.database import opened

    settings = load()
    with ended_by_signals(), live.display() as display:
        display.stage(doing)
        with (
            which_database(settings, doing, display, may_be_new=may_be_new) as found,
            away_is_not_reached(),
            opened(found.url, found.name) as db,
        ):
            yield db, display


def _print_sizes(found: Checked) -> None:
    rows = [
        (
            each.name,
            words.count(each.documents),
            words.size(each.data_bytes),
            words.size(each.stored_bytes),
            str(len(each.index_bytes)),
            words.size(sum(each.index_bytes.values())),
        )
        for each in found.collections
    ]
    columns = ("collection", "documents", "data", "on disk", "indexes", "their size")
    report.print_table(columns, rows, right=columns[1:])
    print()


def _print_wrong(findings: Sequence[IndexFinding]) -> None:
    out = report.console()
    for each in findings:
        line = f"{each.state}: {each.collection}.{each.name}: {each.text}"
        out.print(words.clean(line), style="yellow", soft_wrap=True)
        if each.fix:
            out.print(words.clean(f"  -> {each.fix}"), style="dim", soft_wrap=True)


def _as_dict(found: Checked) -> dict[str, Any]:
    sizes = {each.name: each.index_bytes for each in found.collections}
    return {
        "ok": not found.lacking,
        "indexes": [
            asdict(each) | {"bytes": sizes.get(each.collection, {}).get(each.name)} for each in found.indexes
        ],
        "collections": [
            {key: value for key, value in asdict(each).items() if key != "index_bytes"}
            | {"index_bytes": sum(each.index_bytes.values())}
            for each in found.collections
        ],
    }
