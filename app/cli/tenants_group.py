"""The group `tenants` of the command line: make, list, show, settle, erase. As in main.py, nothing heavy is here."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.options import Json

tenants = typer.Typer(
    name="tenants",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_Name = Annotated[str, typer.Argument(metavar="NAME", help="The tenant.")]
_DisplayName = Annotated[
    str | None, typer.Option("--display-name", metavar="TEXT", help="What people call it.")
]
_Weight = Annotated[
    str | None, typer.Option("--weight", metavar="N", help="Its share where tenants compete; 1 if not set.")
]
_Retention = Annotated[
    str | None,
    typer.Option("--retention-days", metavar="N", help="Keep its batches so long after their end."),
]
_Requests = Annotated[
    str | None, typer.Option("--requests-per-minute", metavar="N", help="Calls to providers in a minute.")
]
_Tokens = Annotated[
    str | None, typer.Option("--tokens-per-minute", metavar="N", help="Tokens of its calls in a minute.")
]
_Concurrency = Annotated[
    str | None, typer.Option("--max-concurrency", metavar="N", help="Calls to providers at once.")
]
_Queued = Annotated[
    str | None, typer.Option("--max-queued-items", metavar="N", help="Items of batches that have not ended.")
]
_Storage = Annotated[str | None, typer.Option("--max-storage-bytes", metavar="N", help="Bytes of its files.")]
_Cost = Annotated[
    str | None,
    typer.Option(
        "--max-cost-usd-per-month", metavar="N", help="What its calls may cost in a calendar month."
    ),
]


@tenants.callback(invoke_without_command=True)
def root(context: typer.Context) -> None:
    """See and settle who uses this server: shares, limits, ceilings."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@tenants.command()
def create(  # noqa: PLR0913, PLR0917  a flag each
    name: _Name,
    display_name: _DisplayName = None,
    weight: _Weight = None,
    retention_days: _Retention = None,
    requests_per_minute: _Requests = None,
    tokens_per_minute: _Tokens = None,
    max_concurrency: _Concurrency = None,
    max_queued_items: _Queued = None,
    max_storage_bytes: _Storage = None,
    max_cost_usd_per_month: _Cost = None,
    json: Json = False,
) -> None:
    """Make a tenant.

    `batchwright keys create --tenant NAME` then makes its first key. What is not settled is not limited.
    """
    from app.cli import tenant_verbs

    given = {
        "display_name": display_name,
        "weight": weight,
        "retention_days": retention_days,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "max_concurrency": max_concurrency,
        "max_queued_items": max_queued_items,
        "max_storage_bytes": max_storage_bytes,
        "max_cost_usd_per_month": max_cost_usd_per_month,
    }
    raise typer.Exit(tenant_verbs.create(name, given, as_json=json))


@tenants.command("list")
def list_(json: Json = False) -> None:
    """List the tenants that your key may see."""
    from app.cli import tenant_verbs

    raise typer.Exit(tenant_verbs.list_(as_json=json))


@tenants.command()
def show(name: _Name, json: Json = False) -> None:
    """Show what is settled for a tenant."""
    from app.cli import tenant_verbs

    raise typer.Exit(tenant_verbs.show(name, as_json=json))


@tenants.command("set")
def set_(  # noqa: PLR0913, PLR0917  a flag each
    name: _Name,
    display_name: _DisplayName = None,
    weight: _Weight = None,
    retention_days: _Retention = None,
    requests_per_minute: _Requests = None,
    tokens_per_minute: _Tokens = None,
    max_concurrency: _Concurrency = None,
    max_queued_items: _Queued = None,
    max_storage_bytes: _Storage = None,
    max_cost_usd_per_month: _Cost = None,
    json: Json = False,
) -> None:
    """Change what is settled for a tenant; what is not named stays.

    `none` as a value takes it back: no limit, no ceiling, the usual share.
    """
    from app.cli import tenant_verbs

    given = {
        "display_name": display_name,
        "weight": weight,
        "retention_days": retention_days,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "max_concurrency": max_concurrency,
        "max_queued_items": max_queued_items,
        "max_storage_bytes": max_storage_bytes,
        "max_cost_usd_per_month": max_cost_usd_per_month,
    }
    raise typer.Exit(tenant_verbs.settle(name, given, as_json=json))


@tenants.command()
def erase(
    name: _Name,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask; needed where nobody can answer.")
    ] = False,
    json: Json = False,
) -> None:
    """Erase a tenant and all it has, for ever.

    Its keys end at once and its batches are cancelled; these, results and files go within a minute or so, also if
    you leave.
    """
    from app.cli import tenant_verbs

    raise typer.Exit(tenant_verbs.erase(name, yes=yes, as_json=json))
