"""What the pages say is there is there."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from app.cli.main import app
from app.cli.reference import reference
from app.reference.pages import pages
from tests.support.abilities import ABILITIES, NOT_OFFERED, PROVIDERS, collected, table, table_of
from tests.support.doc_pages import FOLLOWED, REASONS, Block, blocks, commands_shown, not_printed
from workers.core.event_words import LOGGED, MEANINGS
from workers.core.webhooks import EVENT_TYPES

pytestmark = pytest.mark.fast
ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
CODE_PATH = re.compile(r"`((?:app|workers|config|tests)/[\w./]+\.(?:py|toml|lua))`")
written = cache(pages)


def test_the_command_line_page_is_what_the_commands_say() -> None:
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == reference(), "run `make docs`"


@pytest.mark.parametrize("name", ["api.md", "errors.md", "events.md", "settings.md"])
def test_a_reference_page_is_what_the_code_says(name: str) -> None:
    assert (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8") == written()[name], (
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


def test_links_and_paths_of_every_page_lead_somewhere() -> None:
    missing = [
        (str(page.relative_to(ROOT)), name)
        for page in PAGES
        for name in leads_nowhere(page, page.read_text(encoding="utf-8"))
    ]
    assert not missing


def leads_nowhere(page: Path, text: str) -> list[str]:
    """The links of a page to what is not there, and the paths of code that it names."""
    links = [link for link in LINK.findall(text) if "://" not in link]
    missing = [link for link in links if not (page.parent / link).exists()]
    return missing + [path for path in CODE_PATH.findall(text) if not (ROOT / path).exists()]


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


@cache
def verbs() -> Any:
    """The tree of all verbs, as click has it."""
    return typer.main.get_command(app)


def unknown(words: list[str]) -> list[str]:
    """The first word of a command that is no verb, or its options that the verb does not have."""
    verb = verbs()
    left = list(words)
    while hasattr(verb, "commands"):
        name = next((word for word in left if not word.startswith("-")), None)
        if name is None:
            break
        if name in verb.commands:
            left.remove(name)
            verb = verb.commands[name]
        elif "file" in verb.commands:
            verb = verb.commands["file"]
        else:
            return [name]
    known = {"--help", "-h", "--debug", "--version"}
    known |= {name for each in verb.params for name in (*each.opts, *each.secondary_opts)}
    return [word for word in left if word.startswith("-") and word.partition("=")[0] not in known]


SHOWN = [page for page in PAGES if page.name != "cli.md"]  # which is made from the verbs


def test_every_command_that_a_page_shows_has_verbs_and_options_that_exist() -> None:
    wrong = [
        (str(page.relative_to(ROOT)), call, unknown(call))
        for page in SHOWN
        for call in commands_shown(page)
        if call != ["VERB"] and unknown(call)
    ]
    assert not wrong


def test_a_verb_or_an_option_that_is_not_there_is_seen() -> None:
    assert unknown(["keys", "rotate", "key_...", "--grace", "1h"]) == []
    assert unknown(["schedule", "prompts.jsonl", "--every", "30m"]) == []
    assert unknown(["keys", "burn", "key_..."]) == ["burn"]
    assert unknown(["run", "x.jsonl", "--costs"]) == ["--costs"]
    assert unknown(["dance"]) == ["dance"]


def test_commands_are_found_in_blocks_and_in_sentences(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Use `batchwright why ID`.\n\n```sh\nA=1 batchwright up -d && ls | .venv/bin/batchwright ps  # all\n```\n\n"
        "    batchwright down; batchwright ls\n\nnot batchwright itself\n"
    )
    assert list(commands_shown(page)) == [["up", "-d"], ["ps"], ["down"], ["ls"], ["why", "ID"]]


@pytest.mark.parametrize("page", FOLLOWED, ids=lambda page: page.name)
def test_commands_of_a_page_to_follow_stand_where_a_test_runs_them(page: Path) -> None:
    every = blocks(page)
    assert any(block.language == "sh" and block.reason is None for block in every)
    for block in every:
        if block.language in ("", "bash", "shell", "console"):
            pytest.fail(f"{page.name}, line {block.line}: commands are `sh`, output is `text`")
        if block.language == "sh":
            assert sh_words_are_known(block), f"{page.name}, line {block.line}: {block.words}"
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"^ {4}\S*batchwright ", text, re.MULTILINE), "an indented command runs nowhere"


def sh_words_are_known(block: Block) -> bool:
    """Whether a block is run, or says in a known word why it is not."""
    if block.reason is not None:
        return block.words == ("no-run", block.reason) and block.reason in REASONS
    return not block.words or (
        len(block.words) == 2 and block.words[0] == "exit" and block.words[1].isdigit()
    )


def test_few_commands_of_the_pages_to_follow_are_not_run_and_each_reason_is_used() -> None:
    every = [block for page in FOLLOWED for block in blocks(page) if block.language == "sh"]
    reasons = [block.reason for block in every if block.reason is not None]
    assert set(reasons) == set(REASONS)
    run = sum(len(block.commands) for block in every if block.reason is None)
    left_out = sum(len(block.commands) for block in every if block.reason is not None)
    assert left_out * 3 < run


def test_every_target_of_make_that_a_page_shows_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    shown = {
        target
        for page in PAGES
        for target in re.findall(
            r"(?:^ *|`)make ([a-z][a-z-]*)\b", page.read_text(encoding="utf-8"), re.MULTILINE
        )
    }
    assert {"run", "test", "setup"} <= shown <= targets


def test_output_may_have_other_figures_ids_and_lines_between_but_no_other_words() -> None:
    printed = "batch   batch_0a1b2c3d, completed\nanswered  7 of 7 items\ntime  1.5 s\n"
    shown = "batch   batch_..., completed\nanswered  3 of 3 items\ntime  402 ms"
    assert not_printed(shown, printed, exact=False) == []
    assert not_printed("answered 7 of 7 items", printed, exact=True) == []
    assert not_printed("answered 3 of 3 items", printed, exact=True) == ["answered 3 of 3 items"]
    assert not_printed("refused  3 of 3 items", printed, exact=False) == ["refused  3 of 3 items"]
    assert not_printed("time 1 s\nanswered 1 of 1 items", printed, exact=False) == ["answered 1 of 1 items"]


def test_every_page_is_on_the_map() -> None:
    docs = ROOT / "docs"
    named = {
        (docs / link).resolve() for link in LINK.findall((docs / "README.md").read_text(encoding="utf-8"))
    }
    pages = {page for page in docs.rglob("*.md") if page.parent.name not in ("decisions", "bench")}
    assert not {str(page.relative_to(docs)) for page in pages - named - {docs / "README.md"}}
