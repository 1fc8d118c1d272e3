"""What one node of a JSON Schema says, with `$ref` and `allOf` of one written out. Pure.

gemini_schema.py asks: Gemini's schemas know neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workers.core.errors import Untranslatable

# A node's keywords, each with its value and the path of the object in which it stands.
Node = dict[str, tuple[Any, str]]

WORDS = ("title", "description")
SILENT = frozenset(
    {
        "$schema", "$id", "$anchor", "$comment", "$defs", "definitions", "default", "example", "examples",
        "readOnly", "writeOnly", "deprecated", "discriminator", "externalDocs", "propertyOrdering",
    }
)  # fmt: skip
_MAX_REFERENCES = 60  # one inside the other


class References:
    """The parts of one schema; `at` is its path in the request."""

    def __init__(self, provider: str, schema: Mapping[str, Any], at: str) -> None:
        self._provider = provider
        self._root = schema
        self._at = at

    def node(self, schema: Any, at: str, within: tuple[str, ...]) -> tuple[Node, tuple[str, ...]]:
        """The keywords, and the references that are being written out from here on; `within`: those around it.

        Raises: Untranslatable for a reference to nothing or to itself, and for what two places ask differently.
        """
        if not isinstance(schema, Mapping):
            raise self.refused(at, "a schema that is an object is needed here")
        keywords: Node = {name: (value, at) for name, value in schema.items()}
        for name in ("$ref", "allOf"):
            if name in keywords:
                value, owner = keywords.pop(name)
                path = f"{owner}.{name}"
                if len(within) >= _MAX_REFERENCES:
                    raise self.refused(path, f"more than {_MAX_REFERENCES} references, one inside the other")
                target, target_at, mark = self._target(name, value, path, within)
                below, within = self.node(target, target_at, (*within, mark))
                keywords = self._merged(keywords, below, path)
        return keywords, within

    def refused(self, path: str, why: str) -> Untranslatable:
        """The error for the part at `path`."""
        return Untranslatable(why, provider=self._provider, param=path)

    def _target(self, name: str, value: Any, path: str, within: tuple[str, ...]) -> tuple[Any, str, str]:
        if name == "allOf":
            if not isinstance(value, list) or len(value) != 1:
                raise self.refused(path, "only one schema can be told here")
            return value[0], f"{path}[0]", path
        if not isinstance(value, str) or not value.startswith("#"):
            raise self.refused(path, "only parts of this schema can be referred to")
        if value in within:
            raise self.refused(path, "a schema that contains itself cannot be told")
        target: Any = self._root
        target_at = self._at
        for step in value.split("/")[1:]:
            part = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(target, Mapping) or part not in target:
                raise self.refused(path, "there is no such part")
            target, target_at = target[part], f"{target_at}.{part}"
        return target, target_at, value

    def _merged(self, own: Node, below: Node, path: str) -> Node:
        """Both at once; where both ask the same keyword, only words and documentation may differ."""
        for name in own.keys() & below.keys():
            if name not in WORDS and name not in SILENT and own[name][0] != below[name][0]:
                raise self.refused(path, f"{name} is asked for beside it as well")
        return {**below, **own}
