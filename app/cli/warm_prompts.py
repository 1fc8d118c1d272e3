"""A list of prompts as a file of requests: what `warm` takes besides an input file of batches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

from app.cli.errors import CliError
from app.client.jsonl import DEFAULT_ENDPOINT, input_line
from workers.core.errors import UserError

_JSON_LINES = (".jsonl", ".ndjson", ".json")


@contextmanager
def requests_file(path: Path, model: str | None) -> Iterator[Path]:
    """The file itself if its first line is a whole request; else one that is made of its prompts, one a line.

    In a file named .jsonl, .ndjson or .json a line is a JSON text, a request's body, or a whole request; in any other
    it is the prompt as it stands. Raises CliError.
    """
    try:
        with path.open("rb") as source:
            first = next((line for line in source if line.strip()), b"")
            if not first:
                raise CliError(f"{path} is empty", hint="it holds prompts, one a line")
            if path.suffix in _JSON_LINES and _is_whole(first):
                yield path
                return
            source.seek(0)
            with TemporaryDirectory(prefix="batchwright-warm-") as directory:
                # Under its own name: what is wrong with a line is said with it.
                made = Path(directory) / f"{path.stem}.jsonl"
                made.write_bytes(b"".join(_lines(path, source, model)))
                yield made
    except OSError as error:
        raise CliError(f"cannot read {path}: {error.strerror or error}") from error


def _lines(path: Path, source: BinaryIO, model: str | None) -> Iterator[bytes]:
    is_json = path.suffix in _JSON_LINES
    for number, raw in enumerate(source, start=1):
        if not raw.strip():
            continue
        try:
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            asked: Any = json.loads(text) if is_json else text
            line = input_line(asked, number, DEFAULT_ENDPOINT)
        except UnicodeDecodeError as error:
            raise CliError(f"{path}: line {number} is no UTF-8 text") from error
        except ValueError as error:
            raise CliError(
                f"{path}: line {number} is no JSON: {error}", hint="a plain list of prompts is named .txt"
            ) from error
        except UserError as error:
            raise CliError(f"{path}: line {number}: {error.message}", hint=error.hint) from error
        if model is None and not _names_model(asked):
            hint = "say which one answers the prompts: --model NAME"
            raise CliError(f"{path}: line {number} names no model", hint=hint)
        yield line


def _names_model(asked: Any) -> bool:
    body = asked.get("body", asked) if isinstance(asked, dict) else None
    return isinstance(body, dict) and "model" in body


def _is_whole(line: bytes) -> bool:
    try:
        data = json.loads(line.removeprefix(b"\xef\xbb\xbf"))
    except ValueError:
        return False
    return isinstance(data, dict) and "custom_id" in data and "body" in data
