"""Pages of the documentation, as those who follow them see them: blocks to run, files to make, output to expect.

The info string of a fence says what a block is:

    sh                  commands, one a line, run in this order; all must end with 0
    sh exit N           the same; the last one ends with N
    sh no-run REASON    commands that need what a test has not got; REASONS has the words
    text                key lines of what the command before it prints; figures are examples
    text exact          the same; the figures hold
    python              a program of its own
    LANGUAGE NAME       a file to make under this name

In output `...` stands for what was left out. compat/test_readme.py and compat/test_pages.py run pages,
unit/test_docs.py reads them all.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
TUTORIAL = ROOT / "docs" / "tutorial.md"
HOW_TO = sorted((ROOT / "docs" / "how-to").glob("*.md"))
FOLLOWED = [README, TUTORIAL, *HOW_TO]

# Why a block is not run, and where what it shows is tested instead.
REASONS = {
    "checkout": "make targets that set up or test the checkout itself; unit/test_docs.py knows their names",
    "docker": "no docker engine; unit/test_compose.py and stack/test_image.py hold what compose runs",
    "elsewhere": "another machine, or a server somebody else has",
    "keys": "keys of real providers",
    "systemd": "system services",
}

_FENCE = re.compile(r"^```(\S*)[ \t]*([^\n]*)\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:^ {4}(?![-*] ).+\n)+", re.MULTILINE)
_INLINE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
_ID = re.compile(r"\b(batch|sched|key|whk|dlv)_(?:\.\.\.|[0-9a-f]+(?:\.\.\.)?)")
_ANY_FIGURE = r"[<$]?\d[\d,.:-]*[kMG]?(?:\s?(?:s|ms|min|h|B|kB|MB|GB)\b)?"
_FIGURE = re.compile(rf"{_ANY_FIGURE}|─+|━+|\s+|\.\.\.")
_ENDS = ("|", "||", "&&", ";", "&", ">", ">>", "<", "(", ")")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: where it begins, the words of its info string, and what is in it."""

    line: int
    language: str
    words: tuple[str, ...]
    text: str

    @property
    def reason(self) -> str | None:
        """Why nobody runs it here; None for what is run."""
        return self.words[1] if self.words[:1] == ("no-run",) else None

    @property
    def commands(self) -> list[str]:
        """Its commands, a line each."""
        return [line for line in self.text.splitlines() if line.strip()]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page in their order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            text.count("\n", 0, found.start()) + 1, found[1], tuple(found[2].split()), found[3].rstrip("\n")
        )
        for found in _FENCE.finditer(text)
    ]


def commands_shown(page: Path) -> Iterator[list[str]]:
    """The words of every `batchwright ...` that a page shows, in blocks and within its sentences."""
    text = page.read_text(encoding="utf-8")
    without_fences = _FENCE.sub("\n", text)
    code = [block.text for block in blocks(page) if block.language in ("", "sh", "bash", "toml", "ini")]
    code += _INDENTED.findall(without_fences)
    for line in "\n".join(code).splitlines():
        yield from _calls(line)
    for inline in _INLINE.findall(without_fences):
        yield from _calls(inline.replace("\n", " "))


def _calls(line: str) -> Iterator[list[str]]:
    """What is called by the name `batchwright` in one line of a shell; other text has no such calls."""
    reader = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
    reader.whitespace_split = True
    try:
        words = list(reader)
    except ValueError:  # an apostrophe of a sentence
        return
    while words:
        stop = next((n for n, word in enumerate(words) if word.startswith(_ENDS)), len(words))
        call, words = words[:stop], words[stop + 1 :]
        while call and re.match(r"[A-Z_]+=", call[0]):
            del call[0]
        if call[1:] and call[0].rpartition("/")[2] == "batchwright":
            yield call[1:]


def pattern_of(line: str, *, exact: bool) -> re.Pattern[str]:
    """What a printed line has to look like to be the one that a page shows."""
    parts, at = [], 0
    line = _ID.sub(r"\1_...", line.strip())
    for found in _FIGURE.finditer(line):
        parts.append(re.escape(line[at : found.start()]))
        at = found.end()
        kind = found[0][0]
        if kind == ".":
            parts.append(".*")
        elif kind.isspace():
            parts.append(r"\s+")
        elif kind in "─━":
            parts.append("[─━]+")
        else:
            parts.append(re.escape(found[0]) if exact else _ANY_FIGURE)
    return re.compile("".join([*parts, re.escape(line[at:])]))


def not_printed(shown: str, printed: str, *, exact: bool) -> list[str]:
    """Lines that a page shows and that were not printed, in this order."""
    missing, rest = [], printed.splitlines()
    for line in shown.splitlines():
        if line.strip() in ("", "..."):
            continue
        wanted = pattern_of(line, exact=exact)
        at = next((n for n, each in enumerate(rest) if wanted.search(each)), None)
        if at is None:
            missing.append(line)
        else:
            del rest[: at + 1]
    return missing
