"""Which fields a Gemini request may have, and what may stand in them: the v1beta messages as tables. Pure.

gemini_read.py hands a body in and gets it back with every name in camelCase and every number a number. Like
the API, which reads JSON as protocol buffers, it takes snake_case and camelCase, one object where a list is
meant, and numbers in strings; it refuses what it does not know and lists all violations at once. Fields,
enums and the words of the refusals: ai.google.dev/api (generateContent, caching for Tool and Schema, embeddings).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

import orjson

from app.simulator.gemini_errors import bad_request

_PACKAGE = "type.googleapis.com/google.ai.generativelanguage.v1beta"
_MAX_VIOLATIONS = 50
_CAPITAL = re.compile(r"(?<=[a-z0-9])([A-Z])")
_SHOWN_CHARS = 100

# A field is a scalar's name, a message's name, a set of enum names, [one of these] or {one of these} (a map).
Kind = str | frozenset[str] | list[Any] | dict[str, Any]

TYPES = frozenset({"STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"})
MODES = frozenset({"AUTO", "ANY", "NONE", "VALIDATED"})
_LEVELS = frozenset({"THINKING_LEVEL_UNSPECIFIED", "MINIMAL", "LOW", "MEDIUM", "HIGH"})
_MODALITIES = frozenset({"MODALITY_UNSPECIFIED", "TEXT", "IMAGE", "AUDIO"})
_TIERS = frozenset({"UNSPECIFIED", "STANDARD", "FLEX", "PRIORITY"})
_TASKS = frozenset((
    "TASK_TYPE_UNSPECIFIED", "RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT", "SEMANTIC_SIMILARITY", "CLASSIFICATION",
    "CLUSTERING", "QUESTION_ANSWERING", "FACT_VERIFICATION", "CODE_RETRIEVAL_QUERY",
))  # fmt: skip
_RESOLUTIONS = frozenset(f"MEDIA_RESOLUTION_{each}" for each in ("UNSPECIFIED", "LOW", "MEDIUM", "HIGH"))
_HARMS = frozenset((
    "HARM_CATEGORY_UNSPECIFIED", "HARM_CATEGORY_HARASSMENT", "HARM_CATEGORY_HATE_SPEECH",
    "HARM_CATEGORY_SEXUALLY_EXPLICIT", "HARM_CATEGORY_DANGEROUS_CONTENT", "HARM_CATEGORY_CIVIC_INTEGRITY",
))  # fmt: skip
_THRESHOLDS = frozenset((
    "HARM_BLOCK_THRESHOLD_UNSPECIFIED", "BLOCK_LOW_AND_ABOVE", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_ONLY_HIGH",
    "BLOCK_NONE", "OFF",
))  # fmt: skip

_MESSAGES: Mapping[str, Mapping[str, Kind]] = {
    "GenerateContentRequest": {
        "model": "string",
        "contents": ["Content"],
        "systemInstruction": "Content",
        "tools": ["Tool"],
        "toolConfig": "ToolConfig",
        "safetySettings": ["SafetySetting"],
        "generationConfig": "GenerationConfig",
        "cachedContent": "string",
        "serviceTier": _TIERS,
        "store": "bool",
    },
    "Content": {"parts": ["Part"], "role": "string"},
    "Part": {
        "text": "string",
        "inlineData": "Blob",
        "fileData": "FileData",
        "functionCall": "FunctionCall",
        "functionResponse": "FunctionResponse",
        "thought": "bool",
        "thoughtSignature": "bytes",
        "partMetadata": "struct",
    },
    "Blob": {"mimeType": "string", "data": "bytes"},
    "FileData": {"mimeType": "string", "fileUri": "string"},
    "FunctionCall": {"id": "string", "name": "string", "args": "struct"},
    "FunctionResponse": {"id": "string", "name": "string", "response": "struct"},
    "Tool": {
        "functionDeclarations": ["FunctionDeclaration"],
        "googleSearch": "struct",
        "googleSearchRetrieval": "struct",
        "googleMaps": "struct",
        "codeExecution": "struct",
        "computerUse": "struct",
        "fileSearch": "struct",
        "urlContext": "struct",
    },
    "FunctionDeclaration": {
        "name": "string",
        "description": "string",
        "behavior": frozenset({"UNSPECIFIED", "BLOCKING", "NON_BLOCKING"}),
        "parameters": "Schema",
        "parametersJsonSchema": "value",
        "response": "Schema",
        "responseJsonSchema": "value",
    },
    "Schema": {
        "type": TYPES,
        "format": "string",
        "title": "string",
        "description": "string",
        "nullable": "bool",
        "enum": ["string"],
        "maxItems": "int64",
        "minItems": "int64",
        "properties": {"": "Schema"},
        "required": ["string"],
        "minProperties": "int64",
        "maxProperties": "int64",
        "minLength": "int64",
        "maxLength": "int64",
        "pattern": "string",
        "example": "value",
        "anyOf": ["Schema"],
        "propertyOrdering": ["string"],
        "default": "value",
        "items": "Schema",
        "minimum": "double",
        "maximum": "double",
    },
    "ToolConfig": {"functionCallingConfig": "FunctionCallingConfig", "retrievalConfig": "struct"},
    "FunctionCallingConfig": {"mode": MODES, "allowedFunctionNames": ["string"]},
    "SafetySetting": {"category": _HARMS, "threshold": _THRESHOLDS},
    "GenerationConfig": {
        "stopSequences": ["string"],
        "responseMimeType": "string",
        "responseSchema": "Schema",
        "responseJsonSchema": "value",
        "responseModalities": [_MODALITIES],
        "candidateCount": "int32",
        "maxOutputTokens": "int32",
        "temperature": "double",
        "topP": "double",
        "topK": "int32",
        "seed": "int32",
        "presencePenalty": "double",
        "frequencyPenalty": "double",
        "responseLogprobs": "bool",
        "logprobs": "int32",
        "enableEnhancedCivicAnswers": "bool",
        "speechConfig": "struct",
        "thinkingConfig": "ThinkingConfig",
        "imageConfig": "struct",
        "mediaResolution": _RESOLUTIONS,
    },
    "ThinkingConfig": {"includeThoughts": "bool", "thinkingBudget": "int32", "thinkingLevel": _LEVELS},
    "EmbedContentRequest": {
        "model": "string",
        "content": "Content",
        "taskType": _TASKS,
        "title": "string",
        "outputDimensionality": "int32",
    },
    "BatchEmbedContentsRequest": {"requests": ["EmbedContentRequest"]},
    "CountTokensRequest": {
        "contents": ["Content"],
        "generateContentRequest": "GenerateContentRequest",
    },
}
_SCALARS = ("string", "bool", "int32", "int64", "double", "bytes", "struct", "value")


def snake(name: str) -> str:
    """A field's name as messages show it."""
    return _CAPITAL.sub(lambda match: "_" + match[1].lower(), name)


# Both spellings of each field -> its camelCase one.
_NAMES = {
    kind: {spelling: name for name in fields for spelling in (name, snake(name))}
    for kind, fields in _MESSAGES.items()
}


def read_fields(body: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """A body whose every field is known and of its type; names in camelCase, nulls left out.

    Raises: ApiError 400 listing every violation.
    """
    reader = _Reader()
    read = reader.message(body, kind, "")
    if reader.violations:
        raise bad_request(reader.violations)
    return read


class _Reader:
    def __init__(self) -> None:
        self.violations: list[tuple[str, str]] = []  # (field, description)

    def message(self, given: Mapping[str, Any], kind: str, at: str) -> dict[str, Any]:
        names, fields = _NAMES[kind], _MESSAGES[kind]
        read: dict[str, Any] = {}
        for spelling, value in given.items():
            name = names.get(spelling)
            if name is None:
                self._unknown(spelling, at, "Cannot find field.")
                continue
            if value is None:
                continue
            field, expected = (f"{at}.{snake(name)}" if at else snake(name)), fields[name]
            if isinstance(value, list) and not (isinstance(expected, list) or expected == "value"):
                self._unknown(spelling, at, "Proto field is not repeating, cannot start list.")
                continue
            read[name] = self.value(value, expected, field)
        return read

    def value(self, given: Any, expected: Kind, at: str) -> Any:
        if isinstance(expected, list):
            items = given if isinstance(given, list) else [given]
            return [self.value(each, expected[0], f"{at}[{k}]") for k, each in enumerate(items)]
        if isinstance(expected, dict):
            if not isinstance(given, dict):
                return self._wrong(at, "Map", given)
            return {
                name: self.value(each, expected[""], f"{at}[{k}].value")
                for k, (name, each) in enumerate(given.items())
            }
        if isinstance(expected, frozenset):
            name = given.upper() if isinstance(given, str) else None
            return name if name in expected else self._wrong(at, f"{_PACKAGE}.{_enum_of(at)}", given)
        if expected in _SCALARS:
            return self._scalar(given, expected, at)
        if not isinstance(given, dict):
            return self._wrong(at, f"{_PACKAGE}.{expected}", given)
        return self.message(given, expected, at)

    def _scalar(self, given: Any, expected: str, at: str) -> Any:
        if expected == "value":
            return given
        if expected == "struct":
            return given if isinstance(given, dict) else self._wrong(at, "type.googleapis.com/Struct", given)
        if expected in ("string", "bytes"):
            if not isinstance(given, str):
                return self._wrong(at, f"TYPE_{expected.upper()}", given)
            return self._base64(given, at) if expected == "bytes" else given
        if expected == "bool":
            return given if isinstance(given, bool) else self._wrong(at, "TYPE_BOOL", given)
        number = _number(given)
        whole = expected != "double"
        if number is None or (whole and number != int(number)):
            return self._wrong(at, f"TYPE_{expected.upper()}", given)
        if whole and not -(2**31) <= number < 2 ** (31 if expected == "int32" else 53):
            return self._wrong(at, f"TYPE_{expected.upper()}", given)
        return int(number) if whole else number

    def _base64(self, given: str, at: str) -> str:
        """Either alphabet, with or without padding; given back as the standard one with it."""
        try:
            plain = given.replace("-", "+").replace("_", "/").rstrip("=")
            padded = plain + "=" * (-len(plain) % 4)
            base64.b64decode(padded, validate=True)
        except (binascii.Error, ValueError):
            shown = f"Base64 decoding failed for {_shown(given)}"
            self._add(at, f"Invalid value at '{at}' (TYPE_BYTES), {shown}")
            return ""
        return padded

    def _wrong(self, at: str, kind: str, given: Any) -> None:
        self._add(at, f"Invalid value at '{at}' ({kind}), {_shown(given)}")

    def _unknown(self, spelling: str, at: str, why: str) -> None:
        where = f" at '{at}'" if at else ""
        said = f"Invalid JSON payload received. Unknown name {_shown(spelling)}{where}: {why}"
        self._add(at, said)

    def _add(self, at: str, said: str) -> None:
        if len(self.violations) < _MAX_VIOLATIONS:
            self.violations.append((at, said))


def _number(given: Any) -> float | None:
    """A JSON number, or one in a string; whole numbers stay exact."""
    if isinstance(given, bool):
        return None
    try:
        if isinstance(given, str):
            given = int(given) if given.lstrip("-").isdecimal() else float(given)
        finite = isinstance(given, int | float) and abs(given) < 1e300
    except ValueError:
        return None
    return given if finite else None


def _enum_of(at: str) -> str:
    """The enum's name as refusals show it, made of its field's."""
    last = at.rpartition(".")[2].partition("[")[0]
    return "".join(word.capitalize() for word in last.split("_"))


def _shown(value: Any) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "..."
