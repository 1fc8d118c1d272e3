"""`pause` and `resume`: of a batch, of a provider, of a tenant.

As in main.py, nothing heavy is imported here.
"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from app.cli.errors import CliError
from app.cli.options import Json, MaxCost

_BatchId = Annotated[str | None, typer.Argument(metavar="[ID]", help="The batch, batch_...")]
_Provider = Annotated[
    str | None, typer.Option("--provider", metavar="NAME", help="Instead of a batch: this provider, for all.")
]
_Tenant = Annotated[
    str | None, typer.Option("--tenant", metavar="ID", help="Instead of a batch: all that this tenant has.")
]


def pause(
    batch_id: _BatchId = None, provider: _Provider = None, tenant: _Tenant = None, json: Json = False
) -> None:
    """Let a batch, a provider or a tenant rest: no new call starts.

    What is under way is answered and recorded. A provider is paused by keys of the first tenant alone.
    """
    from app.cli import batch_verbs

    kind, name = _what(batch_id, provider, tenant)
    if kind == "batch":
        raise typer.Exit(batch_verbs.change(name, "pause", as_json=json))
    raise typer.Exit(batch_verbs.set_paused(kind, name, paused=True, as_json=json))


def resume(
    batch_id: _BatchId = None,
    provider: _Provider = None,
    tenant: _Tenant = None,
    max_cost_usd: MaxCost = None,
    json: Json = False,
) -> None:
    """Let a paused batch, provider or tenant go on.

    A batch that rests at its money ceiling needs a higher one.
    """
    from app.cli import batch_verbs

    kind, name = _what(batch_id, provider, tenant)
    if kind == "batch":
        raise typer.Exit(batch_verbs.resume(name, max_cost_usd=max_cost_usd, as_json=json))
    if max_cost_usd is not None:
        raise typer.BadParameter(f"a {kind} has no ceiling", param_hint="--max-cost-usd")
    raise typer.Exit(batch_verbs.set_paused(kind, name, paused=False, as_json=json))


def _what(
    batch_id: str | None, provider: str | None, tenant: str | None
) -> tuple[Literal["batch", "provider", "tenant"], str]:
    """The one thing that was named. Raises CliError for none or several."""
    named: list[tuple[Literal["batch", "provider", "tenant"], str]] = []
    if batch_id:
        named.append(("batch", batch_id))
    if provider:
        named.append(("provider", provider))
    if tenant:
        named.append(("tenant", tenant))
    if len(named) != 1:
        said = "nothing is named" if not named else "more than one thing is named"
        raise CliError(said, hint="name one: a batch's ID, --provider NAME or --tenant ID")
    return named[0]
