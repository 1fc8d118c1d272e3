"""The reply of GET /metrics/targets as the OpenAPI document shows it (shapes.py)."""

from __future__ import annotations

from pydantic import RootModel

from app.api.shapes import Shape


class TargetLabels(Shape):
    """What Prometheus puts on each series of this target."""

    process: str


class Target(Shape):
    """One worker's own page."""

    targets: list[str]
    labels: TargetLabels


class Targets(RootModel[list[Target]]):
    """Where workers serve their own pages, as Prometheus's http_sd reads it."""
