"""JSON that is valid for a JSON schema, chosen by a digest: structured answers and tool arguments. Pure.

simulation.py asks with the prompt's digest, so that f(prompt) holds for structured answers too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from blake3 import blake3

from app.simulator.regex import PatternError, string_matching

MAX_DEPTH = 24
MAX_PARTS = 50_000  # of one value, tries included: recursion with many branches ends too
MAX_SIZE = 10_000  # items, properties or characters that a schema may demand
_LOOSE_DEPTH = 6  # from here on only what is required: recursive schemas end
_WORDS = (
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "harbor",
    "iris",
    "juniper",
    "kelp",
    "linden",
)
_FORMATS = {
    "date": "2024-{month:02d}-{day:02d}",
    "time": "{hour:02d}:{minute:02d}:00Z",
    "date-time": "2024-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:00Z",
    "duration": "PT{minute}M",
    "email": "{word}.{other}@example.com",
    "hostname": "{word}.example.com",
    "uri": "https://example.com/{word}/{other}",
    "ipv4": "192.0.2.{day}",
    "ipv6": "2001:db8::{day}",
    "uuid": "{a:08x}-{b:04x}-4{c:03x}-8{d:03x}-{e:012x}",
}
Schema = Mapping[str, Any] | bool


class SchemaError(ValueError):
    """No value can be made for this schema; the message says where."""


class _Chance:
    """A stream of draws from a digest: the same digest gives the same values in the same order."""

    def __init__(self, digest: bytes) -> None:
        self._key = digest
        self._turn = 0

    def draw(self, n: int) -> int:
        """An integer in [0, n)."""
        self._turn += 1
        raw = blake3(self._key + self._turn.to_bytes(8, "big")).digest(length=8)
        return int.from_bytes(raw, "big") % max(1, n)


def value_for(schema: Schema, digest: bytes) -> Any:
    """A JSON value valid for `schema`, the same for the same digest.

    Raises: SchemaError for a schema that refers to nothing, never ends, or asks for what this cannot make.
    """
    return _Maker(schema, _Chance(digest)).value(schema, "$", 0)


class _Maker:
    def __init__(self, root: Schema, chance: _Chance) -> None:
        self._root = root
        self._draw = chance.draw
        self._left = MAX_PARTS

    def value(self, schema: Schema, at: str, depth: int) -> Any:
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0:
            raise SchemaError(f"{at}: the schema never ends")
        if schema is False:
            raise SchemaError(f"{at}: the schema allows nothing")
        if schema is True:
            return _WORDS[self._draw(len(_WORDS))]
        if not isinstance(schema, Mapping):
            raise SchemaError(f"{at}: a schema is an object or a boolean")
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][self._draw(len(schema["enum"]))]
        if "$ref" in schema or schema.get("allOf"):
            return self.value(self._joined(schema, at), at, depth + 1)
        for choice in ("anyOf", "oneOf"):
            if schema.get(choice):
                return self._one_of(schema, choice, at, depth)
        return self._typed(schema, at, depth)

    def _joined(self, schema: Mapping[str, Any], at: str) -> Schema:
        """One schema out of a $ref or allOf and what stands beside it."""
        whole: Schema = {key: value for key, value in schema.items() if key not in ("$ref", "allOf")}
        if "$ref" in schema:
            whole = _merged(self._resolved(schema["$ref"], at), whole)
        for part in schema.get("allOf", ()):
            refers = isinstance(part, Mapping) and "$ref" in part
            whole = _merged(whole, self._joined(part, at) if refers else part)
        return whole

    def _one_of(self, schema: Mapping[str, Any], choice: str, at: str, depth: int) -> Any:
        rest = {key: value for key, value in schema.items() if key != choice}
        options = list(schema[choice])
        start = self._draw(len(options))
        ordered = options[start:] + options[:start]
        if depth >= _LOOSE_DEPTH:
            ordered.sort(key=_branches)
        for option in ordered:
            try:
                return self.value(_merged(rest, option), f"{at}.{choice}", depth + 1)
            except SchemaError as error:
                failure = error
        raise failure

    def _typed(self, schema: Mapping[str, Any], at: str, depth: int) -> Any:
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = "null" if depth >= _LOOSE_DEPTH and "null" in kind else kind[self._draw(len(kind))]
        if kind == "object" or (kind is None and ("properties" in schema or "required" in schema)):
            return self._object(schema, at, depth)
        if kind == "array" or (kind is None and "items" in schema):
            return self._array(schema, at, depth)
        if kind in ("integer", "number"):
            return self._number(schema, kind == "integer", at)
        if kind == "boolean":
            return self._draw(2) == 1
        if kind == "null":
            return None
        if kind in ("string", None):
            return self._string(schema, at)
        raise SchemaError(f"{at}: unknown type {kind!r}")

    def _object(self, schema: Mapping[str, Any], at: str, depth: int) -> dict[str, Any]:
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        # Optional properties too, as a model would give them; left out only where recursion has to end.
        names = list(properties) if depth < _LOOSE_DEPTH else []
        names += [name for name in required if name not in names]
        extra = schema.get("additionalProperties", True)
        made = {name: self.value(properties.get(name, extra), f"{at}.{name}", depth + 1) for name in names}
        while len(made) < _least(schema, "minProperties", at):
            made[f"extra_{len(made)}"] = self.value(extra, f"{at}.*", depth + 1)
        return made

    def _array(self, schema: Mapping[str, Any], at: str, depth: int) -> list[Any]:
        prefix = schema.get("prefixItems", [])
        closed = schema.get("items") is False  # nothing may follow what prefixItems names
        least = _least(schema, "minItems", at)
        most = min(int(schema.get("maxItems", least + 2)), len(prefix) if closed else least + 2)
        count = least if depth >= _LOOSE_DEPTH else max(least, min(most, 1 + self._draw(3)))
        made: list[Any] = []
        tries = 0
        while len(made) < count:
            k = len(made)
            part = self.value(
                prefix[k] if k < len(prefix) else schema.get("items", True), f"{at}[{k}]", depth + 1
            )
            tries += 1
            if schema.get("uniqueItems") and part in made:
                if tries > 200 + 20 * count:
                    if k >= least:
                        break
                    raise SchemaError(f"{at}: too few different items for minItems {least}")
                continue
            made.append(part)
        return made

    def _number(self, schema: Mapping[str, Any], whole: bool, at: str) -> float:
        step = schema.get("multipleOf", 1 if whole else 0.5)
        low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
        above, below = schema.get("exclusiveMinimum", -math.inf), schema.get("exclusiveMaximum", math.inf)
        floor, ceiling = max(low, above), min(high, below)
        if math.isinf(floor):
            floor = 0 if ceiling > 0 else (ceiling - 100 * step)
        if math.isinf(ceiling):
            ceiling = floor + 100 * step
        if "multipleOf" not in schema and not whole and ceiling - floor < 100 * step:
            step = (ceiling - floor) / 128 or 1  # a narrow range such as 0..1 still has room for many values
            offset = floor
        else:
            offset = 0
        first, last = math.ceil((floor - offset) / step), math.floor((ceiling - offset) / step)
        first += offset + first * step <= above
        last -= offset + last * step >= below
        if first > last:
            raise SchemaError(f"{at}: no number between {floor} and {ceiling}")
        number = offset + (first + self._draw(last - first + 1)) * step
        return int(number) if whole else float(number)

    def _string(self, schema: Mapping[str, Any], at: str) -> str:
        least, most = _least(schema, "minLength", at), schema.get("maxLength")
        if "pattern" in schema:
            for _ in range(50):
                try:
                    made = string_matching(schema["pattern"], self._draw)
                except PatternError as error:
                    raise SchemaError(f"{at}: {error}") from error
                if least <= len(made) <= (most if most is not None else len(made)):
                    return made
            raise SchemaError(f"{at}: found no string for the pattern within its lengths")
        shape = _FORMATS.get(schema.get("format", ""))
        if shape:
            return self._formatted(shape)
        made = " ".join(_WORDS[self._draw(len(_WORDS))] for _ in range(2 + self._draw(3)))
        while len(made) < least:
            made += " " + _WORDS[self._draw(len(_WORDS))]
        if most is not None and len(made) > most:
            made = made[:most].rstrip() if len(made[:most].rstrip()) >= least else made[: most - 1] + "s"
        return made

    def _formatted(self, shape: str) -> str:
        draw = self._draw
        word, other = _WORDS[draw(len(_WORDS))], _WORDS[draw(len(_WORDS))]
        clock = {"month": 1 + draw(12), "day": 1 + draw(28), "hour": draw(24), "minute": draw(60)}
        node = {"a": draw(2**32), "b": draw(2**16), "c": draw(2**12), "d": draw(2**12), "e": draw(2**48)}
        return shape.format(word=word, other=other, **clock, **node)

    def _resolved(self, reference: Any, at: str) -> Schema:
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise SchemaError(f"{at}: $ref {reference!r} is not within this schema")
        found: Any = self._root
        for raw in reference[1:].split("/")[1:]:
            name = raw.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, Mapping) or name not in found:
                raise SchemaError(f"{at}: $ref {reference!r} leads nowhere")
            found = found[name]
        if not isinstance(found, Mapping | bool):
            raise SchemaError(f"{at}: $ref {reference!r} is not a schema")
        return found


def _least(schema: Mapping[str, Any], name: str, at: str) -> int:
    """A lower bound on size, itself bounded: one request must not fill the memory."""
    least = int(schema.get(name, 0))
    if least > MAX_SIZE:
        raise SchemaError(f"{at}: {name} is over the {MAX_SIZE} the simulator makes")
    return least


def _branches(option: Any) -> int:
    """How much recursion an option invites: null and plain types first."""
    if not isinstance(option, Mapping):
        return 1
    return 0 if option.get("type") == "null" else 2 if "$ref" in option or "properties" in option else 1


def _merged(one: Schema, other: Schema) -> Schema:
    """Both schemas at once: properties and required joined, other keys from `other`."""
    if isinstance(one, bool) or isinstance(other, bool):
        if one is False or other is False:
            return False
        return other if isinstance(one, bool) else one
    both = {**one, **other}
    if "properties" in one and "properties" in other:
        both["properties"] = {**one["properties"], **other["properties"]}
    if "required" in one and "required" in other:
        both["required"] = list(dict.fromkeys([*one["required"], *other["required"]]))
    return both
