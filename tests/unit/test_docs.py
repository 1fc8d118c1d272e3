"""What the pages say is there is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.cli.reference import reference
from app.reference.pages import pages
from tests.support.abilities import ABILITIES, NOT_OFFERED, PROVIDERS, collected, table, table_of
from workers.core.event_words import LOGGED, MEANINGS
from workers.core.webhooks import EVENT_TYPES

pytestmark = pytest.mark.fast
ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
CODE_PATH = re.compile(r"`((?:app|workers|config|tests)/[\w./]+\.(?:py|toml|lua))`")


def test_the_command_line_page_is_what_the_commands_say() -> None:
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == reference(), "run `make docs`"


@pytest.mark.parametrize("name", ["api.md", "errors.md", "events.md", "settings.md"])
def test_a_reference_page_is_what_the_code_says(name: str) -> None:
    assert (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8") == pages()[name], (
        "run `make docs`"
    )


def test_every_event_that_a_webhook_may_name_has_a_meaning() -> None:
    assert set(EVENT_TYPES) <= set(MEANINGS)


def test_every_entry_that_is_written_into_a_batchs_log_has_a_meaning() -> None:
    written = {
        name
        for path in (ROOT / "workers" / "store").glob("*.py")
        for name in re.findall(r'logged\("(batch\.[a-z_]+)"', path.read_text(encoding="utf-8"))
    }
    assert written
    assert written <= set(LOGGED)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_paths_of_a_page_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link for link in LINK.findall(text) if "://" not in link]
    missing = [link for link in links if not (page.parent / link).exists()]
    missing += [path for path in CODE_PATH.findall(text) if not (ROOT / path).exists()]
    assert not missing


def test_the_readmes_python_is_python() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        compile(block, "README.md", "exec")


def test_the_providers_page_names_the_tests_that_prove_each_ability(pytestconfig: pytest.Config) -> None:
    proofs = collected(pytestconfig)
    if proofs is None:
        pytest.skip("known only to a run that collects the tests of all adapters")
    page = (ROOT / "docs" / "providers.md").read_text(encoding="utf-8")
    assert table_of(page) == table(proofs), "run `make docs`"


def test_a_cell_that_nobody_proves_and_one_that_is_not_there_to_prove_stop_the_table() -> None:
    test = {"tests/unit/providers/test_x.py::test_y"}
    cells = {(provider, ability): test for provider in PROVIDERS for ability in ABILITIES}
    proofs = {cell: found for cell, found in cells.items() if cell not in NOT_OFFERED}
    assert table(proofs).count("test_x.py::test_y") == len(proofs)
    with pytest.raises(ValueError, match="gemini stream: no test"):
        table({cell: found for cell, found in proofs.items() if cell != ("gemini", "stream")})
    with pytest.raises(ValueError, match="not offered"):
        table(cells)


def test_every_fault_of_the_list_is_a_row_and_every_test_that_the_page_names_exists() -> None:
    rows = "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "chaos").glob("test_*.py")
    )
    marked = set(re.findall(r'pytest\.mark\.fault\(\s*"(\w+)"', rows))
    assert {*map(str, range(1, 26)), "23b", "23c"} <= marked
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    written = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)", page))
    assert named
    assert not {name for name in named if f"def {name}(" not in written}
