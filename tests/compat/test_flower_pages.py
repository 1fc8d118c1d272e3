"""Flower's pages in a real Chromium while a batch runs: what docs/flower.md says of them can be seen there.

`make compat ARGS="-k flower_pages --retake-pictures"` takes the pictures of docs/images anew.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.support.batches import chat_line
from tests.support.eventually import eventually
from tests.support.flower import AUTH, Flower, running_flower
from tests.support.servers import TestServers
from tests.support.workers import Site, open_site, started_worker

pytestmark = pytest.mark.compat
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
MOST_BYTES = 200_000
ITEMS, SHARD_ITEMS = 1_600, 25
# Whoever looks at the picture need not know on which machine it was taken.
_NEUTRAL = """([name, other]) => {
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    walk.currentNode.nodeValue = walk.currentNode.nodeValue.replaceAll(name, other);
  }
}"""


@pytest.fixture(scope="module")
def running(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Flower]]:
    """Two workers, Flower, and a batch that goes on for some seconds."""
    directory = tmp_path_factory.mktemp("pages")
    slow = {"BATCHWRIGHT_SHARD_MAX_ITEMS": str(SHARD_ITEMS), "BATCHWRIGHT_WORKER_MAX_CALL_SLOTS": "16"}
    with (
        open_site(servers, directory) as site,
        running_flower(servers, directory) as flower,
        started_worker(site, "worker-1", **slow),
        started_worker(site, "worker-2", **slow),
    ):
        lines = [chat_line(f"c{n}", f"ticket {n} [[sim:latency-ms=400]]") for n in range(ITEMS)]
        site.submit(lines)
        eventually(lambda: len(flower.tasks()) > 24, 20)
        yield site, flower


@pytest.fixture
def page(running: tuple[Site, Flower]) -> Iterator[Page]:
    """A window of 1280 by 800 whose user knows the password."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian's package is `chromium`)")
    _, flower = running
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(
            base_url=str(flower.client.base_url),
            viewport={"width": 1280, "height": 800},
            http_credentials={"username": AUTH[0], "password": AUTH[1]},
        )
        yield context.new_page()
        browser.close()


def test_the_first_page_shows_the_workers_and_what_each_is_at(page: Page, pictures: Path) -> None:
    page.goto("/")
    for name in ("worker-1", "worker-2"):
        expect(page.locator("body")).to_contain_text(f"{name}@")
    expect(page.locator("body")).to_contain_text("Online")
    _take(page, pictures / "flower-workers.png")


def test_the_tasks_page_shows_shards_by_provider_with_their_states(page: Page, pictures: Path) -> None:
    page.goto("/tasks")
    for text in ("shard.sim", "SUCCESS", "STARTED", "done"):
        expect(page.locator("#tasks-table").first).to_contain_text(text)
    _take(page, pictures / "flower-tasks.png")


def test_a_tasks_page_shows_its_shard_and_its_worker(
    page: Page, running: tuple[Site, Flower], pictures: Path
) -> None:
    _, flower = running
    done = {id_: task for id_, task in flower.tasks().items() if task["result"] == "'done'"}
    task_id, task = next(iter(done.items()))
    page.goto(f"/task/{task_id}")
    batch_id, number = str(task["args"]).strip("(',)").split(".")
    for text in ("shard.sim", "SUCCESS", f"{number} of {batch_id}", "worker-"):
        expect(page.locator("body")).to_contain_text(text)
    _take(page, pictures / "flower-task.png")


def test_the_broker_page_shows_the_queues_by_name(page: Page, pictures: Path) -> None:
    page.goto("/broker")
    for text in ("batch.sim", "plan", "schedules"):
        expect(page.locator("body")).to_contain_text(text)
    _take(page, pictures / "flower-broker.png")


@pytest.mark.parametrize("name", ["workers", "tasks", "task", "broker"])
def test_the_pictures_of_the_documentation_are_there_and_small(name: str) -> None:
    picture = (IMAGES / f"flower-{name}.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < MOST_BYTES


@pytest.fixture
def pictures(pytestconfig: pytest.Config, tmp_path: Path) -> Path:
    """Where pictures go: the documentation's own are only replaced when somebody asks for it."""
    return IMAGES if pytestconfig.getoption("--retake-pictures") else tmp_path


def _take(page: Page, path: Path) -> None:
    page.wait_for_load_state("networkidle")
    page.evaluate(_NEUTRAL, [socket.gethostname(), "host-1"])
    page.screenshot(path=path)
    assert path.stat().st_size < MOST_BYTES
