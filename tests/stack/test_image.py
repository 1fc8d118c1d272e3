"""What docker-compose.yml and the Dockerfile run, run without docker: the image's code in a folder, embedded servers.

Every command and healthcheck is taken from docker-compose.yml as it stands; names of hosts, ports and folders of a
container are replaced by those of this machine (`Place`), nothing else. Programs that this machine has not are skipped
by name. compat/test_image.py installs the image's packages and measures it; here they are those of the tests.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from app.embedded.ports import PortClaims, PortWish
from tests.support.apart import apart
from tests.support.batches import chat_line
from tests.support.compose import compose, health, seconds
from tests.support.eventually import eventually
from tests.support.image import Layers
from tests.support.servers import TestServers
from tests.support.workers import Site, open_site

pytestmark = [pytest.mark.integration, pytest.mark.stack]

COMPOSE = compose()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
# Of Gemini nobody has a key here.
RUNNING = ("api", "worker", "worker-openai", "worker-gemini", "beat", "flower", "simulator")
START_S = 40.0
EVERYWHERE = {"0.0.0.0", "::"}


@dataclass
class Place:
    """Where a container's world is on this machine."""

    root: Path
    servers: TestServers
    ports: Mapping[str, int] = field(default_factory=dict)
    more: Mapping[str, str] = field(default_factory=dict)

    def words(self, words: Sequence[str]) -> list[str]:
        """A command with our ports, folders and interpreter."""
        moved = [self._moved(word) for word in words]
        return [sys.executable if moved[0] == "python" else moved[0], *moved[1:]]

    def environ(self, service: Mapping[str, Any]) -> dict[str, str]:
        """What the process finds: the image's environment, compose's, and the servers of the tests."""
        told = {name: self._moved(str(value)) for name, value in service.get("environment", {}).items()}
        image = {
            "PYTHONPATH": str(self.root / "opt/batchwright"),
            "PATH": f"{self.root}/tools:{os.environ['PATH']}",
        }
        return {"HOME": str(self.root), **image, **told, **self.servers.environ(), **self.more}

    def _moved(self, text: str) -> str:
        for port, ours in self.ports.items():
            text = re.sub(rf"\b{port}\b", str(ours), text)
        return re.sub(r"(?<![\w/])/(data|tmp)\b", rf"{self.root}/\1", text).replace("0.0.0.0", "127.0.0.1")


@dataclass
class Running:
    """One service's process."""

    name: str
    place: Place
    process: subprocess.Popen[bytes]
    log: Path

    def is_healthy(self) -> bool:
        """Whether its healthcheck passes, run as docker runs it."""
        done = subprocess.run(
            self.place.words(health(SERVICES[self.name])),
            env=self.place.environ(SERVICES[self.name]),
            cwd=self.place.root,
            capture_output=True,
            timeout=seconds(SERVICES[self.name]["healthcheck"]["timeout"]),
        )
        return done.returncode == 0

    def becomes_healthy(self) -> None:
        eventually(
            lambda: self.process.poll() is not None or self.is_healthy(),
            START_S,
            what=lambda: self.log.read_text(errors="replace")[-3000:],
        )
        assert self.process.poll() is None, self.log.read_text(errors="replace")[-3000:]


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the build copies, compiled as the build compiles it."""
    folder = tmp_path_factory.mktemp("image")
    root = Layers(folder).make("code")
    for name in ("data", "tmp"):
        (root / name).mkdir()
    # The packages of the tests stand for those of the image, and its one program of ours is called by its name.
    tools = root / "tools"
    tools.mkdir()
    for name, line in (("python", '"$@"'), ("batchwright", '-m app.cli.main "$@"')):
        (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {line}\n')
        (tools / name).chmod(0o755)
    return root


@pytest.fixture(scope="module")
def site(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Empty databases, and a simulator that is also what OPENAI_BASE_URL names."""
    with open_site(apart(servers, "image"), tmp_path_factory.mktemp("simulator")) as opened:
        yield opened


@pytest.fixture(scope="module")
def ours(code: Path, site: Site) -> Iterator[dict[str, Running]]:
    """Each process of ours, with a world of its own but for the servers and its volume."""
    url = site.simulator.base_url
    providers = {
        "BATCHWRIGHT_SIMULATOR_URL": url.removesuffix("/v1"),
        "OPENAI_BASE_URL": url,
        "OPENAI_API_KEY": "sk-of-nobody",
    }
    started: dict[str, Running] = {}
    claims = PortClaims()
    try:
        for name in RUNNING:
            root = code.parent / f"root-{name}"
            root.mkdir()
            for below in ("opt", "tools"):
                (root / below).symlink_to(code / below)
            if "data:/data" in SERVICES[name].get("volumes", ()):
                (root / "data").symlink_to(code / "data")
            else:
                (root / "data").mkdir()
            (root / "tmp").mkdir()
            ports = {
                port: claims.choose(PortWish(f"{name}-{port}")) for port in ("8000", "9100", "5555", "9999")
            }
            place = Place(root, site.servers, ports, providers)
            log = root / "log"
            process = subprocess.Popen(
                place.words(SERVICES[name]["command"]),
                env=place.environ(SERVICES[name]),
                cwd=root / "opt" / "batchwright",
                stdout=log.open("wb"),
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            started[name] = Running(name, place, process, log)
        yield started
    finally:
        for each in started.values():
            if each.process.poll() is None:
                os.killpg(each.process.pid, signal.SIGKILL)
            each.process.wait()
        claims.release()


@pytest.mark.parametrize("name", RUNNING)
def test_each_process_of_ours_starts_by_its_command_and_passes_its_healthcheck(
    ours: dict[str, Running], name: str
) -> None:
    ours[name].becomes_healthy()


def test_flower_makes_a_password_and_asks_for_it(ours: dict[str, Running]) -> None:
    import httpx

    flower = ours["flower"]
    flower.becomes_healthy()
    password = (flower.place.root / "data" / "flower_password").read_text().strip()
    url = f"http://127.0.0.1:{flower.place.ports['5555']}/api/workers"
    assert httpx.get(url).status_code == 401
    assert httpx.get(url, auth=("batchwright", password)).status_code == 200


def test_each_worker_serves_its_own_providers_and_together_they_answer_a_batch_of_several(
    ours: dict[str, Running], site: Site
) -> None:
    for name in ("worker", "worker-openai", "worker-gemini"):
        ours[name].becomes_healthy()
    found = {
        doc["owner"].partition("-")[0]: doc["providers"] for doc in site.stores.db["worker_processes"].find()
    }
    assert found == {"worker": ["sim"], "openai": ["openai"], "gemini": []}
    models = ["sim-small", "openai/sim-small"] * 4
    batch = site.ended(
        site.submit([chat_line(f"c{n}", f"ask {n}", model=model) for n, model in enumerate(models)])
    )
    assert (batch["status"], batch["counts"]["completed"]) == ("completed", len(models))
    assert {shard["provider"] for shard in site.shards(batch["_id"])} == {"sim", "openai"}


def test_each_process_ends_by_itself_in_the_time_that_compose_gives_it_and_its_healthcheck_sees_it(
    ours: dict[str, Running],
) -> None:
    for each in ours.values():
        each.becomes_healthy()
    for each in ours.values():
        os.kill(each.process.pid, signal.SIGTERM)
    for name, each in ours.items():
        grace_s = seconds(SERVICES[name].get("stop_grace_period", "10s"))
        assert each.process.wait(timeout=grace_s) == 0, each.log.read_text(errors="replace")[-2000:]
        # Beat's file has to grow old first.
        assert name == "beat" or not each.is_healthy()


def test_nobody_writes_outside_of_tmp_and_its_volume(ours: dict[str, Running]) -> None:
    # The root of a container is read-only; that of a test is not, so what was written is looked for.
    for name, each in ours.items():
        root = each.place.root
        assert {path.name for path in root.iterdir()} == {"opt", "tools", "data", "tmp", "log"}, name
        assert (root / "data").is_symlink() or not list((root / "data").iterdir()), name


def test_a_beat_that_reaches_no_broker_grows_unhealthy(code: Path, servers: TestServers) -> None:
    place = Place(code, servers)
    ready = code / "tmp" / "beat.ready"
    ready.touch()
    beat = Running("beat", place, None, code / "log")  # type: ignore[arg-type]
    assert beat.is_healthy()
    os.utime(ready, (0, 0))
    assert not beat.is_healthy()
    ready.unlink()
    assert not beat.is_healthy()


def test_the_models_are_asked_for_by_a_command_that_says_why_when_it_cannot(
    code: Path, servers: TestServers
) -> None:
    place = Place(code, servers)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody is there
        environ = place.environ(SERVICES["models"])
        environ["OLLAMA_HOST"] = f"127.0.0.1:{taken.getsockname()[1]}"
        command = [str(code / "tools" / "batchwright"), *SERVICES["models"]["command"][1:]]
        done = subprocess.run(command, env=environ, cwd=code, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "")
    assert "Ollama" in done.stderr
