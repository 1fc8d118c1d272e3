"""`batchwright run`: files of prompts become files of answers.

preflight -> session -> submission (or the unfinished batch of an earlier run) -> follow -> download -> outcome.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli import live, report, sampling, sending, targets, words
from app.cli.errors import CliError, FileProblem
from app.cli.failures import Failure, count_failures
from app.cli.follow import Followed, Follower
from app.cli.preflight import CheckedFile, Rules, check_file, no_provider, refused_model
from app.cli.progress import SIMULATED
from app.cli.sampling import Draw, Sample, speed_of, take
from app.cli.session import Session, Wish, ended_by_signals, is_own_stack_needed, session
from app.cli.stopping import telling_how_to_go_on
from app.cli.summary import Outcome, exit_code
from app.cli.targets import Target
from app.cli.ways_out import Routes, for_model
from app.client.calls import BatchRequest
from app.client.models import BatchInfo, Problem
from workers.core.identity import content_key
from workers.core.split import split_lines

if TYPE_CHECKING:
    from app.cli.live import Display
    from app.client.blocking import Client
    from config.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The flags of `run`, as far as they reach a batch or the stack.

    Attributes:
        fresh: go on with no earlier batch.
        sample: so many random items first.
        yes: after them the rest, without a question.
    """

    model: str | None = None
    max_cost_usd: float | None = None
    simulate: bool = False
    cache: bool = True
    input_order: bool = False
    workers: int | None = None
    json: bool = False
    fresh: bool = False
    sample: int | None = None
    yes: bool = False


def run(files: Sequence[Path], options: Options, output: Path | None, errors: Path | None) -> int:
    """Do it all; gives the exit code. Raises CliError, UserError, StackError, SettingsError."""
    from config.settings import load_settings

    settings = load_settings()
    places = targets.targets_for(files, output, errors)
    routes = Routes(settings, options.simulate or settings.simulator.all_models)
    own_stack = is_own_stack_needed(settings)
    checked = [check_file(path, _rules(settings, options, routes, own_stack=own_stack)) for path in files]
    chosen = {each for file in checked for each in file.chosen}
    if own_stack:
        routes.check_reachable(chosen)
    for place in places:
        targets.prepare(place)
    simulated = routes.simulates(chosen)
    wish = Wish(workers_of(options.workers, settings), simulated, routes.all_simulated)
    watched: list[Followed] = []
    sampled = options.sample is not None
    with (
        ended_by_signals(),
        ExitStack() as held,
        telling_how_to_go_on(watched, stays=not own_stack, sampled=sampled),
    ):
        display = live.display()
        found = opened(held, settings, wish, display)
        samples: list[Sample] = []
        if options.sample is not None:
            with display:
                samples = [_sample(found, display, settings, wish, file, options) for file in checked]
            if not sampling.shown_and_wanted(samples, as_json=options.json, yes=options.yes):
                return sampling.exit_code(samples)
            paid_usd = max(sample.paid_usd for sample in samples)
            options = replace(options, max_cost_usd=sampling.left_usd(options.max_cost_usd, paid_usd))
        work = list(zip(checked, places, strict=True))
        outcomes = _answered(found, display, wish, work, options, watched)
        for failed in [outcome for outcome in outcomes if outcome.batch.status == "failed"]:
            error = refused(failed.batch, failed.name)
            if len(outcomes) == 1:
                raise error
            report.print_error(error)
        more = [{"sample": sampling.sample_json(sample)} for sample in samples]
        report.print_outcomes(outcomes, as_json=options.json, more=more)
    return exit_code(outcomes)


def workers_of(asked: int | None, settings: Settings) -> int:
    """Worker processes: the flag, else the setting, else one per core this process may use."""
    import os

    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return asked or settings.worker.processes or cores


def _rules(settings: Settings, options: Options, routes: Routes, *, own_stack: bool) -> Rules:
    # A server that runs already has settings of its own: what it refuses it will say itself.
    return Rules(
        model=options.model,
        choose=routes.chooser.choose if own_stack else None,
        way_out=for_model,
        max_line_bytes=settings.batch.max_line_bytes,
        max_requests=settings.api.max_requests if own_stack else None,
        max_file_bytes=settings.api.max_file_bytes if own_stack else None,
        skip_invalid=settings.batch.invalid_lines == "skip",
    )


def _answered(
    found: Session,
    display: Display,
    wish: Wish,
    work: Sequence[tuple[CheckedFile, Target]],
    options: Options,
    watched: list[Followed],
) -> list[Outcome]:
    """Everything that needs the server."""
    with display:
        # One by one: who stops us in between still learns of those that are on their way.
        watched.extend(_start_or_resume(found.client, file, options, wish, display) for file, _ in work)
        Follower(found.client, display, wish.simulator, check=found.check).follow(watched)
        return [_fetch(found.client, each, place) for each, (_, place) in zip(watched, work, strict=True)]


def opened(held: ExitStack, settings: Settings, wish: Wish, display: Display) -> Session:
    """A server that stays until `held` is closed."""
    with display:
        if wish.simulator:
            display.note(SIMULATED)
        return held.enter_context(session(settings, wish, display))


def _sample(
    found: Session, display: Display, settings: Settings, wish: Wish, file: CheckedFile, options: Options
) -> Sample:
    draw = Draw(
        name=file.path.name,
        total=file.total,
        digest=file.digest,
        marks=_marks(file, options, wish),
        lines=lambda numbers: _lines_of(file, settings.batch.max_line_bytes, numbers),
        request=_request(file, options),
        speed=speed_of(settings, wish, file.chosen),
    )
    sample = take(found, display, draw, options.sample or 0, fresh=options.fresh)
    if sample.batch.status == "failed":
        raise refused(sample.batch, file.path.name)
    return sample


def _lines_of(file: CheckedFile, max_line_bytes: int, numbers: frozenset[int]) -> Iterator[bytes]:
    with file.path.open("rb") as source:
        chunks = iter(lambda: source.read(1 << 20), b"")
        for number, (_, _, raw) in enumerate(split_lines(chunks, max_line_bytes), start=1):
            if number in numbers:
                yield raw + b"\n"


def _marks(file: CheckedFile, options: Options, wish: Wish) -> dict[str, Any]:
    """What beside a file's bytes makes two runs the same work."""
    return {
        "endpoint": file.endpoint,
        "model": options.model,
        "cache": options.cache,
        "all_simulated": wish.all_models,
    }


def _request(file: CheckedFile, options: Options) -> BatchRequest:
    return BatchRequest(
        input_file_id="",
        endpoint=file.endpoint,
        model=options.model,
        cache=options.cache,
        max_cost_usd=options.max_cost_usd,
        order="input" if options.input_order else None,
    )


def _start_or_resume(
    client: Client, file: CheckedFile, options: Options, wish: Wish, display: Display
) -> Followed:
    run_key = content_key(file.digest, _marks(file, options, wish))
    name = file.path.name
    earlier = None if options.fresh else sending.earlier(client, run_key)
    if earlier is not None and sending.is_resumable(earlier):
        batch = sending.resumed(client, earlier, options.max_cost_usd)
        of_total = f"{words.count(batch.done)} of {words.count(batch.total)} done"
        display.note(f"resuming {batch.id}: {of_total if batch.total else 'the file is being checked'}")
        return Followed(name, batch, time.monotonic(), done_before=batch.done)
    display.stage(f"sending {name} ({words.size(file.bytes)})")
    started_s = time.monotonic()
    request = replace(_request(file, options), run_key=run_key)
    return Followed(name, sending.send(client, file.path, request), started_s)


def _fetch(client: Client, each: Followed, place: Target) -> Outcome:
    """Bring both files here; one that does not exist takes an older one with it, if the name was ours.

    Of a batch that rests at its ceiling, what there is so far.
    """
    batch = each.batch
    seconds = each.seconds or 0.0
    if not batch.ended:
        client.download_partial(batch.id, "output", place.output)
        client.download_partial(batch.id, "error", place.errors)
        failed = failures_in(place.errors)
        paths = (place.output.absolute(), place.errors.absolute())
        return Outcome(each.name, batch, seconds, each.done_before, *paths, failed)
    if batch.status == "failed":
        return Outcome(each.name, batch, seconds, each.done_before)
    output_path = error_path = None
    left: list[str | None] = []
    if batch.output_file_id:
        client.download(batch.output_file_id, place.output)
        output_path = place.output.absolute()
    else:
        left.append(targets.older_left(place.output, "answers", named=place.output_named))
    failures: tuple[Failure, ...] = ()
    if batch.error_file_id:
        client.download(batch.error_file_id, place.errors)
        error_path = place.errors.absolute()
        failures = failures_in(place.errors)
    else:
        left.append(targets.older_left(place.errors, "errors", named=place.errors_named))
    kept = tuple(text for text in left if text)
    return Outcome(each.name, batch, seconds, each.done_before, output_path, error_path, failures, kept)


def failures_in(path: Path) -> tuple[Failure, ...]:
    """Why items failed, from an error file that has been fetched."""
    if not path.is_file():  # a pipe cannot be read again
        return ()
    with path.open("rb") as lines:
        return count_failures(lines)


def refused(batch: BatchInfo, file: str, *, lines_before: int = 0) -> CliError:
    """A batch that the server refused, as the same error that the check before would have given.

    `lines_before`: of the file of which the batch is a part, those before its first.
    """
    rows = [row for row in batch.problems if row.code != "more_errors"]
    problems = [
        FileProblem(file, row.line and row.line + lines_before, row.param, row.code, _in_our_words(row))
        for row in rows
    ]
    wrong_model = next((row for row in rows if row.code == "model_not_found"), None)
    hint = None
    if wrong_model is not None:
        # A running stack has read its settings at its start, and keeps to them.
        hint = f"{for_model(refused_model(wrong_model.message))}; then start the stack again"
    more = next((row.message for row in batch.problems if row.code == "more_errors"), "")
    hidden = int(more.split(" ", 1)[0]) if more[:1].isdigit() else 0
    text = "" if problems else f"{file} was refused by the server"
    return CliError(text, problems=problems, more=hidden, hint=hint)


def _in_our_words(row: Problem) -> str:
    return no_provider(row.message) if row.code == "model_not_found" else row.message
