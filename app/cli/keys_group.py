"""The group `keys` of the command line: make, list, rotate and revoke API keys. As in main.py, nothing heavy here."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from app.cli.options import Json

keys = typer.Typer(
    name="keys",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class _Scope(str, Enum):  # noqa: UP042  typer reads the values of such an Enum
    read = "read"
    submit = "submit"
    admin = "admin"


_KeyId = Annotated[str, typer.Argument(metavar="ID", help="The key's id, key_...; not the key.")]
_Tenant = Annotated[str | None, typer.Option("--tenant", metavar="NAME", help="Of this tenant.")]


@keys.callback(invoke_without_command=True)
def root(context: typer.Context) -> None:
    """Make, list, rotate and revoke API keys."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@keys.command()
def create(
    tenant: _Tenant = None,
    scope: Annotated[
        list[_Scope] | None,
        typer.Option("--scope", metavar="S", help="read, submit or admin, which is all; may be repeated."),
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="TIME", help="After that: 12h, 30d, 8w.")
    ] = None,
    name: Annotated[str, typer.Option("--name", metavar="TEXT", help="To know it by.")] = "unnamed",
    json: Json = False,
) -> None:
    """Make a key and show it, this once.

    Without --scope it reads and submits; without --tenant it is for the tenant of your own key.
    """
    from app.cli import key_verbs

    scopes = [each.value for each in scope or ()]
    code = key_verbs.create(tenant=tenant, scopes=scopes, expires=expires, name=name, as_json=json)
    raise typer.Exit(code)


@keys.command("list")
def list_(
    tenant: _Tenant = None,
    all_: Annotated[bool, typer.Option("--all", help="Those that work no more, too.")] = False,
    json: Json = False,
) -> None:
    """List keys, newest first; never the keys themselves."""
    from app.cli import key_verbs

    raise typer.Exit(key_verbs.list_(tenant=tenant, ended=all_, as_json=json))


@keys.command()
def rotate(
    key_id: _KeyId,
    grace: Annotated[
        str | None,
        typer.Option("--grace", metavar="TIME", help="Let the old one work on: 10m, 24h, up to 7d."),
    ] = None,
    json: Json = False,
) -> None:
    """Put a new key in the place of another, and show it, this once.

    Without --grace the old one ends at once.
    """
    from app.cli import key_verbs

    raise typer.Exit(key_verbs.rotate(key_id, grace=grace, as_json=json))


@keys.command()
def revoke(key_id: _KeyId, json: Json = False) -> None:
    """End a key at once."""
    from app.cli import key_verbs

    raise typer.Exit(key_verbs.revoke(key_id, as_json=json))
