"""What a shell may put in when Tab is pressed: the ids of batches. Silent, whatever is wrong: nobody asked in words."""

from __future__ import annotations

from contextlib import suppress

_MOST = 50


def batch_ids(incomplete: str) -> list[tuple[str, str]]:
    """Ids of the newest batches that begin so, each with what tells it from the others."""
    from app.cli import words
    from app.cli.batch_verbs import load
    from app.cli.session import named_server

    with suppress(Exception), named_server(load()) as client:
        return [
            (batch.id, f"{batch.status}, {words.count(batch.total)} requests, {batch.endpoint}")
            for batch in client.list(limit=_MOST).batches
            if batch.id.startswith(incomplete)
        ]
    return []
