"""Every route of the API as it is registered: its parameters, what its body may hold, and what a key must be allowed.

Tests that hold for all routes take them from here, so that a route added later is held to them, too.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast, get_args

from pydantic import BaseModel

from app.api.application import routed

SOCKET = "WEBSOCKET"
_PLACEHOLDER = re.compile(r"([^/]+)/\{(\w+)\}")


@dataclass(frozen=True)
class Route:
    """One method of one path.

    Attributes:
        in_path: {parameter: the segment before it, which says what it names}.
        scope: what the key must be allowed; None where no key is asked for.
        operator: whether the key must be the operator's.
        extra: what the route says of its body for the OpenAPI document.
    """

    method: str
    path: str
    in_path: dict[str, str]
    in_query: tuple[str, ...]
    scope: str | None
    operator: bool
    extra: dict[str, Any] | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def collection(self) -> str:
        """What the path names at its end, or whose member it names."""
        return [word for word in self.path.split("/") if word and not word.startswith("{")][-1]


@cache
def every_route() -> tuple[Route, ...]:
    """All of them, WebSockets as the method `WEBSOCKET`."""
    found: list[Route] = []
    for included in routed().routes:
        several: Any = getattr(included, "effective_route_contexts", None)
        for route in cast("list[Any]", several() if several else [included]):
            original: Any = getattr(route, "original_route", route)
            dependant, path = original.dependant, route.path or original.path
            calls = list(_calls(dependant))
            for method in sorted(getattr(route, "methods", None) or [SOCKET]):
                in_path = {name: before for before, name in _PLACEHOLDER.findall(path)}
                in_query = tuple(parameter.alias for parameter in dependant.query_params)
                operator = any(call.__name__ == "_operator" for call in calls)
                extra = getattr(original, "openapi_extra", None)
                found.append(Route(method, path, in_path, in_query, _scope(calls), operator, extra))
    return tuple(found)


def fields_of(model: type[BaseModel], before: str = "") -> Iterator[str]:
    """The names of a body's fields, those inside others with dots."""
    for name, each in model.model_fields.items():
        inner = next(filter(_is_model, _types(each.annotation)), None)
        if inner is None:
            yield before + name
        else:
            yield from fields_of(inner, f"{before}{name}.")


def _calls(dependant: Any) -> Iterator[Any]:
    for each in dependant.dependencies:
        yield each.call
        yield from _calls(each)


def _scope(calls: list[Any]) -> str | None:
    asked = [inspect.getclosurevars(call).nonlocals.get("scope") for call in calls]
    return next(filter(None, asked), None)


def _types(annotation: Any) -> Iterator[Any]:
    yield annotation
    for each in get_args(annotation):
        yield from _types(each)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
