"""`batchwright run` as typer sees it: its flags, and which kind of run they ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import Errors, Json, MaxCost, Model, NoCache, Order, Output, Workers

_Prompt = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="The files are tables; ask this of each row: 'Classify: {column}'."),
]
_PromptFile = Annotated[
    Path | None, typer.Option("--prompt-file", metavar="FILE", help="The same, from a file.")
]
_System = Annotated[str | None, typer.Option(metavar="TEXT", help="The system message of every row.")]
_Schema = Annotated[
    Path | None,
    typer.Option(metavar="S.json", help="JSON Schema of an answer; its properties become columns."),
]
_Delimiter = Annotated[
    str | None, typer.Option(metavar="C", help="Between the values of a CSV; default: by its look.")
]
_AnswerColumn = Annotated[
    str | None, typer.Option("--answer-column", metavar="NAME", help="Name of the answers' column.")
]
_Prefix = Annotated[str, typer.Option(metavar="TEXT", help="Put this before the names of all new columns.")]
_Details = Annotated[bool, typer.Option("--details", help="Add the columns cost_usd, model and source.")]
_Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with what an earlier run has left; it always does.")
]
_Fresh = Annotated[bool, typer.Option("--fresh", help="Start anew; go on with no earlier run.")]
_Partial = Annotated[
    bool, typer.Option("--partial", help="Send nothing; write what an earlier run of the table has.")
]
_Sample = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Ask N random items first, and say what all would cost."),
]
_Yes = Annotated[bool, typer.Option("--yes", help="After the sample go on without a question.")]


def run(  # noqa: PLR0913, PLR0917  a flag each
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="JSONL of requests; with --prompt a CSV, TSV, JSONL or Parquet."),
    ],
    output: Output = None,
    errors: Errors = None,
    model: Model = None,
    sim: Annotated[bool, typer.Option("--sim", help="Let the simulator answer; costs nothing.")] = False,
    workers: Workers = None,
    no_cache: NoCache = False,
    max_cost_usd: MaxCost = None,
    order: Annotated[
        Order | None, typer.Option(metavar="input", help="Output in input order; it always is.")
    ] = None,
    sample: _Sample = None,
    yes: _Yes = False,
    prompt: _Prompt = None,
    prompt_file: _PromptFile = None,
    system: _System = None,
    schema: _Schema = None,
    delimiter: _Delimiter = None,
    answer_column: _AnswerColumn = None,
    prefix: _Prefix = "",
    details: _Details = False,
    resume: _Resume = False,
    fresh: _Fresh = False,
    partial: _Partial = False,
    json: Json = False,
) -> None:
    """Answer files of requests, or every row of a table.

    Starts what is needed, shows the progress, and stops what it has started.

    Answers go to out/NAME.out.jsonl and failed items to out/NAME.errors.jsonl unless -o and --errors say
    otherwise. A table comes back whole, as out/NAME.out.EXT, with the answers as columns. The same command again
    goes on with what is unfinished; nothing is paid twice.
    """
    from app.cli.run import Options
    from app.cli.run import run as answer
    from app.cli.tables_run import TableOptions, check_flags, run_table

    options = Options(
        model=model,
        simulate=sim,
        cache=not no_cache,
        max_cost_usd=max_cost_usd,
        input_order=order is not None,
        workers=workers,
        json=json,
        fresh=fresh,
        sample=sample,
        yes=yes,
    )
    asked = TableOptions(
        prompt=prompt,
        prompt_file=prompt_file,
        system=system,
        schema=schema,
        delimiter=delimiter,
        answer_column=answer_column,
        prefix=prefix,
        details=details,
        partial=partial,
    )
    if resume and fresh:
        raise typer.BadParameter("--resume goes on with an earlier run, --fresh does not: give one of them")
    table = check_flags(files, asked, errors)
    code = run_table(table, options, asked, output) if table else answer(files, options, output, errors)
    raise typer.Exit(code)
