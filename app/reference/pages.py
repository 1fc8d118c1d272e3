"""Which pages there are."""

from __future__ import annotations

from app.reference import api, errors, events, settings


def pages() -> dict[str, str]:
    """Every page by its file's name, as Markdown."""
    return {
        "api.md": api.page(),
        "errors.md": errors.page(),
        "events.md": events.page(),
        "settings.md": settings.page(),
    }
