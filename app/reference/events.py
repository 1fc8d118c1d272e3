"""docs/reference/events.md: what is told of batches, tenants and the installation, and by which ways."""

from __future__ import annotations

from app.reference.markdown import code, table
from workers.core.event_words import LOGGED, MEANINGS
from workers.core.webhooks import EVENT_TYPES

_HEAD = """# Events

What is told by webhooks ([webhooks.md](../webhooks.md)), and what a batch's own log and its streams say
([events.md](../events.md)). A webhook names an event alone or a kind of them, such as `batch.*`.
"""


def page() -> str:
    """The page."""
    rows = [
        (code(name), "yes" if name in EVENT_TYPES else "", "yes" if name in LOGGED else "", meaning)
        for name, meaning in MEANINGS.items()
    ]
    return "\n".join([_HEAD, *table(("event", "webhook", "log and streams", "meaning"), rows), ""])
