"""Which test proves which ability of which provider: a pytest plugin, and the table of docs/providers.md.

A test says what it proves by `@pytest.mark.ability("gemini", "stream")`. `--write-abilities=docs/providers.md` writes
the table once all of them have passed (`make docs`); tests/unit/test_docs.py holds the page against the markers in
every run of the suite.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path

import pytest

PROVIDERS = ("openai", "anthropic", "gemini", "ollama")
ABILITIES = (
    "chat", "stream", "tools", "parallel tools", "schema", "image", "embedding", "audio", "prompt caching",
    "usage", "errors",
)  # fmt: skip
# Reviewed by hand against each provider's published API: what no adapter could translate.
NOT_OFFERED: Mapping[tuple[str, str], str] = {
    ("anthropic", "embedding"): "its API has no embeddings",
    ("anthropic", "audio"): "its models neither listen nor speak",
    ("ollama", "audio"): "its API takes text and images only",
    ("ollama", "prompt caching"): "what it keeps of a prompt can neither be asked for nor is it counted",
}
# Where such tests stand; those of the first are named before others.
FOLDERS = ("tests/contract/providers/", "tests/unit/providers/")
BEGIN, END = "<!-- written by `make docs` -->\n", "<!-- end of what `make docs` writes -->\n"

Cell = tuple[str, str]  # provider, ability
Proofs = Mapping[Cell, AbstractSet[str]]  # the tests of each cell, by node id without parameters

_COLLECTED = pytest.StashKey[dict[Cell, set[str]]]()
_FILES = pytest.StashKey[set[str]]()


def collected(config: pytest.Config) -> Proofs | None:
    """What this run's tests prove, deselected ones too; None when not all of `FOLDERS` was collected."""
    root = config.rootpath
    there = {str(path.relative_to(root)) for folder in FOLDERS for path in (root / folder).glob("test_*.py")}
    return config.stash[_COLLECTED] if there <= config.stash[_FILES] else None


def table(proofs: Proofs) -> str:
    """The table in Markdown, between its two marks.

    Raises: ValueError for a cell that no test proves, or one that a test proves although it is not offered.
    """
    lines = [f"| | {' | '.join(PROVIDERS)} |", "|---|" + "---|" * len(PROVIDERS)]
    for ability in ABILITIES:
        cells = [_cell((provider, ability), proofs) for provider in PROVIDERS]
        lines.append(f"| {ability} | {' | '.join(cells)} |")
    return BEGIN + "\n" + "\n".join(lines) + "\n\n" + END


def table_of(page: str) -> str:
    """The table as a page has it, with its marks. Raises ValueError for a page without."""
    return page[page.index(BEGIN) : page.index(END) + len(END)]


def _cell(cell: Cell, proofs: Proofs) -> str:
    tests = sorted(proofs.get(cell, ()), key=lambda test: (not test.startswith(FOLDERS[0]), test))
    if bool(tests) == (cell in NOT_OFFERED):
        what = f"not offered, says a table, but proved by {tests[0]}" if tests else "no test proves it"
        raise ValueError(f"{' '.join(cell)}: {what}")
    if not tests:
        return f"not offered by the provider: {NOT_OFFERED[cell]}"
    path, _, name = tests[0].partition("::")
    more = f" and {len(tests) - 1} more" if tests[1:] else ""
    return f"[`{Path(path).name}::{name}`](../{path}){more}"


# ---------------------------------------------------------------- the plugin


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-abilities", metavar="PAGE", help="write the table of abilities into this page")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_COLLECTED], config.stash[_FILES] = {}, set()
    page = config.getoption("write_abilities")
    if page and not hasattr(config, "workerinput"):  # of several processes the one that gets all reports
        config.pluginmanager.register(_Writer(config.rootpath / page))


def pytest_itemcollected(item: pytest.Item) -> None:
    test, stash = item.nodeid.partition("[")[0], item.config.stash
    stash[_FILES].add(test.partition("::")[0])
    for marker in item.iter_markers("ability"):
        provider, ability = marker.args
        if provider not in PROVIDERS or ability not in ABILITIES or not test.startswith(FOLDERS):
            raise pytest.UsageError(f"{test}: {marker.args} is no cell of docs/providers.md")
        stash[_COLLECTED].setdefault((provider, ability), set()).add(test)
        item.user_properties.append(("ability", [provider, ability]))  # travels with the reports


class _Writer:
    """Gathers which tests passed, whatever process they ran in."""

    def __init__(self, page: Path) -> None:
        self._page = page
        self._passed: dict[Cell, set[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            test = report.nodeid.partition("[")[0]
            for name, value in report.user_properties:
                if name == "ability" and isinstance(value, list):
                    self._passed.setdefault((value[0], value[1]), set()).add(test)

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """A run with a failure writes nothing, nor does one that leaves a cell open."""
        if exitstatus != pytest.ExitCode.OK:
            return
        page = self._page.read_text(encoding="utf-8")
        try:
            written = page.replace(table_of(page), table(self._passed))
        except ValueError as error:
            pytest.exit(f"{self._page.name}: {error}", returncode=pytest.ExitCode.TESTS_FAILED)
        self._page.write_text(written, encoding="utf-8")
