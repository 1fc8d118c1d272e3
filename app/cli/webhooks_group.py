"""The group `webhooks` of the command line: who is told, and what was delivered.

As in main.py, nothing heavy is imported here.
"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from app.cli.options import Json

webhooks = typer.Typer(
    name="webhooks",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_Id = Annotated[str, typer.Argument(metavar="ID", help="The webhook, whk_...")]
_Events = Annotated[
    list[str] | None,
    typer.Option(
        "--event", metavar="E", help="Only these: batch.completed, batch.*, tenant.*, *; again for more."
    ),
]
# Not from the environment: a receiver's WEBHOOK_SECRET there would make a rotation one to the same secret.
_Secret = Annotated[
    str | None, typer.Option("--secret", metavar="whsec_...", help="Sign by this; else one is made.")
]


@webhooks.callback(invoke_without_command=True)
def root(context: typer.Context) -> None:
    """Settle who is told how batches end, and see deliveries."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@webhooks.command()
def create(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where events are sent, https://...")],
    event: _Events = None,
    secret: _Secret = None,
    json: Json = False,
) -> None:
    """Send events to a URL. The signing secret is shown here and never again.

    Without --event: everything about batches.
    """
    from app.cli import webhook_verbs

    raise typer.Exit(webhook_verbs.create(url, event or [], secret, as_json=json))


@webhooks.command("list")
def list_(json: Json = False) -> None:
    """List webhooks."""
    from app.cli import webhook_verbs

    raise typer.Exit(webhook_verbs.list_(as_json=json))


@webhooks.command()
def show(webhook_id: _Id, json: Json = False) -> None:
    """Show a webhook, without its secret."""
    from app.cli import webhook_verbs

    raise typer.Exit(webhook_verbs.show(webhook_id, as_json=json))


@webhooks.command("set")
def set_(
    webhook_id: _Id,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="Send events there from now on.")
    ] = None,
    event: _Events = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Whether it is told; an answer 410 disables it.")
    ] = None,
    json: Json = False,
) -> None:
    """Change a webhook; what is not named stays."""
    from app.cli import webhook_verbs

    raise typer.Exit(webhook_verbs.change(webhook_id, url, event or [], enabled, as_json=json))


@webhooks.command()
def rotate(
    webhook_id: _Id,
    secret: _Secret = None,
    grace_s: Annotated[
        int | None,
        typer.Option(
            "--grace-s", metavar="S", min=0, help="The old secret signs, too, for so long; a day if not set."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Sign by a new secret, shown here and never again."""
    from app.cli import webhook_verbs

    raise typer.Exit(webhook_verbs.rotate(webhook_id, secret, grace_s, as_json=json))


@webhooks.command()
def rm(webhook_id: _Id, json: Json = False) -> None:
    """Remove a webhook; what waits for it is not sent."""
    from app.cli import webhook_verbs

    raise typer.Exit(webhook_verbs.remove(webhook_id, as_json=json))


@webhooks.command("test")
def try_out(webhook_id: _Id, json: Json = False) -> None:
    """Send a test event now, and say what came back."""
    from app.cli import webhook_verbs

    raise typer.Exit(webhook_verbs.try_out(webhook_id, as_json=json))


@webhooks.command()
def deliveries(
    status: Annotated[
        Literal["pending", "delivered", "dead"] | None,
        typer.Option("--status", metavar="S", help="Only pending, delivered or dead ones."),
    ] = None,
    event: Annotated[
        str | None,
        typer.Option("--event", metavar="E", help="Only of this event: its type, or its id evt_..."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=100, help="So many.")] = 20,
    after: Annotated[
        str | None, typer.Option("--after", metavar="ID", help="Those older than this one.")
    ] = None,
    json: Json = False,
) -> None:
    """List what was sent, or is to be sent, newest first."""
    from app.cli import webhook_verbs

    raise typer.Exit(
        webhook_verbs.deliveries(status=status, event=event, after=after, limit=limit, as_json=json)
    )


@webhooks.command()
def replay(
    delivery_id: Annotated[str, typer.Argument(metavar="ID", help="The delivery, dlv_...")],
    json: Json = False,
) -> None:
    """Send a delivery again, whatever became of it."""
    from app.cli import webhook_verbs

    raise typer.Exit(webhook_verbs.replay(delivery_id, as_json=json))
