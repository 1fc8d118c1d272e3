"""`batchwright run TABLE --prompt "Classify: {text}"`: a table becomes a table with answers in it.

check (app/tables) -> session -> parts, one batch each, at most four open -> follow as one -> join -> outcome.

A part is known by what it asks (its run_key), so the same command again finds what was sent before, whatever stopped
it: a whole part is not sent again, an unfinished one goes on. Under a ceiling of money parts run one after the other,
each with what the others have left: never more in total, at the price of the calls that could run beside a part's
last ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli import live, sampling, targets, words
from app.cli.errors import CliError, FileProblem
from app.cli.follow import Followed, Follower
from app.cli.progress import Row
from app.cli.run import Options, opened, refused, workers_of
from app.cli.sampling import Draw, Sample, speed_of, take
from app.cli.session import Wish, ended_by_signals, is_own_stack_needed
from app.cli.stopping import telling_how_to_go_on
from app.cli.table_join import joined
from app.cli.table_outcome import TableOutcome, merged, row_of_table
from app.cli.table_parts import Parts, part_batches
from app.cli.ways_out import Routes, for_model
from app.client.calls import BatchRequest
from app.tables.answers import Answers, answers_for
from app.tables.asking import ENDPOINT, Asking, read_schema
from app.tables.cutting import MAX_PROBLEMS, CheckedTable, Limits, check, lines_of_rows
from app.tables.formats import format_of, is_always_table, open_table
from app.tables.rows import TableFault
from app.tables.template import parse
from workers.core.choose import AUTO, Chosen

if TYPE_CHECKING:
    from app.cli.live import Display
    from app.cli.session import Session
    from config.settings import Settings

# What the Batch API takes; a server that is set to more gains nothing by larger parts.
_MOST_ROWS, _MOST_BYTES = 50_000, 200_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TableOptions:
    """The flags of `run` that are about tables alone; `prompt` or `prompt_file` is given."""

    prompt: str | None = None
    prompt_file: Path | None = None
    system: str | None = None
    schema: Path | None = None
    delimiter: str | None = None
    answer_column: str | None = None
    prefix: str = ""
    details: bool = False
    partial: bool = False


def check_flags(files: Sequence[Path], asked: TableOptions, errors: Path | None) -> Path | None:
    """The one table that a run is about; None for files of requests. Raises CliError for flags that do not fit."""
    prompts = [each for each in (asked.prompt, asked.prompt_file) if each is not None]
    tables = [path for path in files if is_always_table(path)]
    if not prompts:
        if tables:
            hint = f"--prompt 'Classify: {{column}}' asks it of every row of {tables[0]}"
            raise CliError(f"{tables[0]} is a table, and there is no prompt", hint=hint)
        if asked != TableOptions():
            raise CliError("a flag about tables is given, but no prompt", hint="give --prompt as well")
        return None
    if len(prompts) > 1:
        raise CliError("--prompt and --prompt-file are given", hint="give one of them")
    if len(files) > 1:
        raise CliError(f"there are {len(files)} tables", hint="run one at a time")
    if errors is not None:
        raise CliError("a table has its errors in a column of its own", hint="leave out --errors")
    if asked.answer_column is not None and asked.schema is not None:
        raise CliError("--schema names the columns of answers itself", hint="leave out --answer-column")
    if asked.delimiter is not None and len(asked.delimiter) != 1:
        raise CliError("a delimiter is one character", hint="for tabs name the file .tsv, or give $'\\t'")
    return files[0]


def run_table(path: Path, options: Options, asked: TableOptions, output: Path | None) -> int:
    """Do it all; gives the exit code. Raises CliError, UserError, StackError, SettingsError."""
    from config.settings import load_settings

    settings = load_settings()
    place = _place_for(path, output)
    routes = Routes(settings, options.simulate or settings.simulator.all_models)
    asking = _asking(options, asked)
    answers = answers_for(asking.schema, asked.answer_column, prefix=asked.prefix, details=asked.details)
    display = live.display()
    with display:
        display.stage(f"checking {path.name}")
        checked = _checked(path, asked, asking, answers, settings)
    own_stack = is_own_stack_needed(settings)
    chosen = _chosen(asking, routes) if own_stack else set()
    targets.prepare_file(place)
    wish = Wish(workers_of(options.workers, settings), routes.simulates(chosen), routes.all_simulated)
    watched: list[Followed] = []
    with (
        ended_by_signals(),
        ExitStack() as held,
        telling_how_to_go_on(
            watched, "the table", checked.rows, stays=not own_stack, sampled=options.sample is not None
        ),
    ):
        found = opened(held, settings, wish, display)
        table = _Table(checked, answers, options, wish, found, display)
        sample = None
        if options.sample is not None:
            sample = table.sample(options.sample, settings, chosen)
            if not sampling.shown_and_wanted([sample], as_json=options.json, yes=options.yes):
                return sampling.exit_code([sample])
        outcome = table.look(place) if asked.partial else table.answer(place, watched, sample)
        more = {} if sample is None else {"sample": sampling.sample_json(sample)}
        outcome.print(as_json=options.json, more=more)
    return outcome.exit_code


def _place_for(path: Path, output: Path | None) -> Path:
    if output is None:
        place = Path(targets.FOLDER) / f"{path.stem}.out{path.suffix}"
    else:
        place = output
        theirs, ours = format_of(output), format_of(path)
        if theirs not in (None, ours):
            raise CliError(
                f"{output} is no {ours} by its name, but answers keep the format of {path}",
                hint=f"end its name with {path.suffix}",
            )
    targets.check_target(place, [path])
    return place


def _asking(options: Options, asked: TableOptions) -> Asking:
    try:
        prompt = asked.prompt if asked.prompt_file is None else asked.prompt_file.read_text("utf-8")
        schema = None
        if asked.schema is not None:
            schema = read_schema(asked.schema.read_bytes(), str(asked.schema))
    except OSError as error:
        raise CliError(f"cannot read {error.filename}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise CliError(f"{asked.prompt_file} is no UTF-8 text") from error
    template = parse(prompt or "")
    if not template.names:
        raise CliError(
            "the prompt names no column: every row would be asked the same",
            hint="name one in braces, such as {text}",
        )
    return Asking(template, options.model or AUTO, asked.system, schema)


def _checked(
    path: Path, asked: TableOptions, asking: Asking, answers: Answers, settings: Settings
) -> CheckedTable:
    limits = Limits(
        rows=min(settings.api.max_requests, _MOST_ROWS),
        file_bytes=min(settings.api.max_file_bytes, _MOST_BYTES),
        line_bytes=settings.batch.max_line_bytes,
    )
    names = [column.name for column in answers.columns]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise CliError(f"two of the new columns are named {twice!r}", hint="rename the schema's property")
    try:
        return check(open_table(path, asked.delimiter), asking, names, limits)
    except TableFault as fault:
        raise in_our_words(fault, path) from fault
    except OSError as error:
        raise CliError(f"cannot read {path}: {error.strerror or error}") from error


def in_our_words(fault: TableFault, path: Path) -> CliError:
    """A fault of a table with its rows as places."""
    problems = [
        FileProblem(
            str(path),
            None,
            ", ".join(([f"row {each.row}"] if each.row else []) + ([each.column] if each.column else []))
            or None,
            each.code,
            each.message,
        )
        for each in fault.problems
    ]
    return CliError(problems=problems, more=fault.more, hint=fault.hint, shown=MAX_PROBLEMS)


def _chosen(asking: Asking, routes: Routes) -> set[Chosen]:
    """Who will answer: all rows ask alike, so one stands for all."""
    found = routes.chooser.choose(ENDPOINT, asking.model, asking.body(""))
    if not isinstance(found, Chosen):
        raise CliError(f"no provider answers the model {asking.model!r}", hint=for_model(asking.model))
    routes.check_reachable({found})
    return {found}


@dataclass(slots=True)
class _Table:
    """One checked table at one server."""

    checked: CheckedTable
    answers: Answers
    options: Options
    wish: Wish
    found: Session
    display: Display

    @property
    def name(self) -> str:
        return self.checked.table.path.name

    def sample(self, number: int, settings: Settings, chosen: set[Chosen]) -> Sample:
        """Ask some rows; what that has cost is taken off the ceiling."""
        draw = Draw(
            name=self.name,
            total=self.checked.rows,
            digest=self.checked.digest,
            marks=self._marks,
            lines=lambda numbers: lines_of_rows(self.checked, numbers),
            request=self._request,
            speed=speed_of(settings, self.wish, chosen),
        )
        with self.display:
            sample = take(self.found, self.display, draw, number, fresh=self.options.fresh)
        if sample.batch.status == "failed":
            raise refused(sample.batch, self.name)
        return sample

    def answer(self, place: Path, watched: list[Followed], sample: Sample | None) -> TableOutcome:
        """Send what is not sent yet, wait for all, and write the table; not while a part is not done."""
        ceiling_usd = sampling.left_usd(self.options.max_cost_usd, sample.paid_usd if sample else 0.0)
        options = replace(self.options, max_cost_usd=ceiling_usd)
        parts = Parts(
            self.checked,
            self.found.client,
            self.display,
            self._request,
            self._marks,
            ceiling_usd=ceiling_usd,
            fresh=options.fresh,
        )
        with self.display:
            follower = Follower(
                self.found.client, self.display, self.wish.simulator, self._rows, self.found.check
            )
            follower.follow(watched, parts.next)
            for part, each in zip(self.checked.parts, watched, strict=False):
                if each.batch.status == "failed":
                    raise refused(each.batch, self.name, lines_before=part.first_row - 1)
            outcome = merged(self.checked, watched, ceiling_usd, out_of_money=parts.out_of_money)
            if outcome.is_ended:
                self.display.stage(f"writing {place.name}")
                outcome = joined(self.found.client, self.checked, self.answers, outcome, place)
        return outcome

    def look(self, place: Path) -> TableOutcome:
        """Write what there is, and send nothing."""
        batches = part_batches(self.found.client, self.checked, self._marks)
        if not batches:
            raise CliError(f"nothing of {self.name} has been asked yet", hint="leave out --partial")
        with self.display:
            self.display.stage(f"writing {place.name}")
            seen = [Followed(self.name, batch, 0.0, batch.done, 0.0) for batch in batches]
            outcome = merged(self.checked, seen, None, out_of_money=False)
            return joined(self.found.client, self.checked, self.answers, outcome, place)

    def _rows(self, watched: Sequence[Followed]) -> tuple[Row, ...]:
        return (row_of_table(self.name, self.checked.rows, [each.batch for each in watched]),)

    @property
    def _marks(self) -> dict[str, Any]:
        """What beside its requests makes a part the same work."""
        return {"table": True, "cache": self.options.cache, "all_simulated": self.wish.all_models}

    @property
    def _request(self) -> BatchRequest:
        return BatchRequest(
            input_file_id="",
            endpoint=ENDPOINT,
            cache=self.options.cache,
            max_cost_usd=self.options.max_cost_usd,
            metadata={"batchwright_table": words.shortened(self.name, 200)},
        )
