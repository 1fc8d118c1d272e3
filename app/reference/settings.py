"""docs/reference/settings.md: every setting, from the tree in config/."""

from __future__ import annotations

from dataclasses import fields
from itertools import groupby
from typing import Any

from app.reference.markdown import code, table
from config.describe import SettingDoc, describe_settings
from config.fields import sections
from config.provider import Limits, Timeouts

_HEAD = """# Settings

Order of strength: environment, `.env`, `batchwright.toml` (or the file `BATCHWRIGHT_CONFIG` names), default. In the
file, `section.field` is `field` below `[section]`. A secret is also read from the file that `NAME_FILE` names, and is
never shown. Sizes take `200 MB` or `256 KiB`. [.env.example](../../.env.example) is the same list to copy from.
"""
_PROVIDERS = """## providers

Tables of `batchwright.toml`, `[providers.NAME]`; [providers.md](../providers.md) says what each kind can do. `kind`,
`base_url`, `api_key_env`, `models`, `path`, `key_header`, `headers`, `options` and `fallback` are the table's own
fields, `limits` and `timeouts` are tables in it. Well-known names in the environment, such as `OPENAI_API_KEY`, make a
provider as well; [.env.example](../../.env.example) lists them.
"""


def page() -> str:
    """The page."""
    docs = describe_settings()
    lines = [_HEAD]
    for section, group in groupby(docs, lambda doc: doc.name.rpartition(".")[0]):
        title = f"## {section}" if section else "## general"
        meaning = (sections()[section].__doc__ or "").partition("\n")[0] if section else ""
        lines += [title, "", *([meaning, ""] if meaning else []), *_table(list(group)), ""]
    lines.append(_PROVIDERS)
    lines += table(
        ("field", "default", "meaning"),
        [row for name, shape in (("limits", Limits), ("timeouts", Timeouts)) for row in _fields(name, shape)],
    )
    return "\n".join(lines) + "\n"


def _table(docs: list[SettingDoc]) -> list[str]:
    names = ("setting", "environment", "default", "takes", "meaning")
    return table(
        names, [(code(doc.name), _names(doc), code(doc.default), doc.allowed, _words(doc)) for doc in docs]
    )


def _names(doc: SettingDoc) -> str:
    return ", ".join(code(name) for name in (doc.env, *doc.aliases))


def _words(doc: SettingDoc) -> str:
    return f"{doc.doc} Secret." if doc.secret else doc.doc


def _fields(name: str, shape: type[Any]) -> list[tuple[str, str, str]]:
    defaults = {each.name: "" if each.default is None else f"{each.default:g}" for each in fields(shape)}
    docs = {each.name: each.metadata["rule"].doc for each in fields(shape)}
    return [(code(f"{name}.{field}"), code(defaults[field]), docs[field]) for field in docs]
