"""What docker-compose.yml and the Dockerfile run, run without docker: the image's code in a folder, embedded servers.

Every command and healthcheck is taken from docker-compose.yml as it stands; names of hosts, ports and folders of a
container are replaced by those of this machine (`Place`), nothing else. Programs that this machine has not are skipped
by name. compat/test_image.py installs the image's packages and measures it; here they are those of the tests.
"""

from __future__ import annotations

import http.server
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from app.embedded.binaries import find_mongod, find_redis
from app.embedded.ports import PortClaims, PortWish
from config.settings import Settings
from tests.support.apart import apart
from tests.support.batches import chat_line
from tests.support.compose import ROOT, compose, health, seconds
from tests.support.eventually import eventually
from tests.support.image import Layers
from tests.support.servers import TestServers
from tests.support.workers import Site, open_site

pytestmark = [pytest.mark.integration, pytest.mark.stack]

COMPOSE = compose()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
RUNNING = ("api", "worker", "worker-openai", "beat", "flower")
START_S = 40.0


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
        told = {name: self._moved(str(value)) for name, value in service["environment"].items()}
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
    """The API, two workers, beat and Flower, each with a world of its own but for /data and the servers."""
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
            for below in ("opt", "tools", "data"):
                (root / below).symlink_to(code / below)
            (root / "tmp").mkdir()
            ports = {port: claims.choose(PortWish(f"{name}-{port}")) for port in ("8000", "8001", "5555")}
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
    for name in ("worker", "worker-openai"):
        ours[name].becomes_healthy()
    found = {
        doc["owner"].partition("-")[0]: doc["providers"] for doc in site.stores.db["worker_processes"].find()
    }
    assert found == {"worker": ["sim"], "openai": ["openai"]}
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


# --- the servers' own


@pytest.mark.parametrize("name", ["redis", "cache"])
def test_a_redis_starts_by_its_command_and_is_found_healthy(name: str, tmp_path: Path) -> None:
    claims = PortClaims()
    port = claims.choose(PortWish(name))
    claims.release()
    command = [*_mounted(name)[1:], "--port", str(port), "--dir", str(tmp_path)]
    with _started([str(find_redis().path), *command], tmp_path, {}):
        eventually(lambda: _answers(port, b"PING\r\n").startswith(b"+PONG"), 10.0)
        if shutil.which("redis-cli") is None:
            pytest.skip("there is no redis-cli here, so its healthcheck was not run; the server started")
        check = [re.sub(r"-p \d+", f"-p {port}", word) for word in health(SERVICES[name])]
        assert subprocess.run(check).returncode == 0
    assert subprocess.run(check, capture_output=True).returncode != 0


def test_mongod_starts_by_its_command(tmp_path: Path) -> None:
    claims = PortClaims()
    port = claims.choose(PortWish("mongod"))
    claims.release()
    binary = find_mongod(tmp_path)
    # What may be given once is given by us in place of it.
    command = [str(tmp_path) if word == "/data/db" else word for word in _mounted("mongodb")[1:]]
    command += ["--port", str(port), "--nounixsocket"]
    with _started([str(binary.path), *command], tmp_path, binary.env):
        eventually(lambda: _listens(port), 20.0)
    if shutil.which("mongosh") is None:
        pytest.skip("there is no mongosh here, so its healthcheck was not run; the server started")


@pytest.mark.parametrize("name", ["qdrant", "grafana"])
def test_a_healthcheck_by_bash_alone_tells_a_good_answer_from_a_bad_one_and_from_none(name: str) -> None:
    check = health(SERVICES[name])
    (port,) = re.findall(r"/dev/tcp/127\.0\.0\.1/(\d+)", check[-1])
    with _answering(200) as good, _answering(503) as bad:
        assert subprocess.run([*check[:-1], check[-1].replace(port, str(good))]).returncode == 0
        assert subprocess.run([*check[:-1], check[-1].replace(port, str(bad))]).returncode != 0
    gone = [*check[:-1], check[-1].replace(port, str(good))]
    assert subprocess.run(gone, capture_output=True).returncode != 0


@pytest.mark.parametrize("name", ["ollama", "prometheus"])
def test_a_healthcheck_is_run_where_its_program_is(name: str) -> None:
    check = health(SERVICES[name])
    # Debian 12's promtool has no `check ready` yet.
    if shutil.which(check[0]) is None or subprocess.run([*check, "--help"], capture_output=True).returncode:
        pytest.skip(f"there is no {check[0]} here that could run `{' '.join(check)}`")
    if name == "prometheus":
        with _answering(200) as good:
            assert subprocess.run([*check, f"--url=http://127.0.0.1:{good}"]).returncode == 0
    with _answering(503) as bad:
        told = {"OLLAMA_HOST": f"127.0.0.1:{bad}"} if name == "ollama" else {}
        flag = () if told else (f"--url=http://127.0.0.1:{bad}",)
        assert subprocess.run([*check, *flag], env={**os.environ, **told}).returncode != 0


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


def test_a_worker_ends_its_drain_before_docker_would_kill_it() -> None:
    assert seconds(SERVICES["worker"]["stop_grace_period"]) > Settings().worker.drain_grace_s


def _mounted(name: str) -> list[str]:
    """A server's command, with its files at their places in the checkout."""
    volumes = [volume.split(":") for volume in SERVICES[name]["volumes"]]
    places = {parts[1]: str(ROOT / parts[0]) for parts in volumes if parts[0].startswith(".")}
    return [places.get(word, word) for word in SERVICES[name]["command"]]


@contextmanager
def _started(command: Sequence[str], folder: Path, environ: Mapping[str, str]) -> Iterator[None]:
    log = folder / "log"
    process = subprocess.Popen(
        command,
        env={**os.environ, **environ},
        cwd=folder,
        stdout=log.open("wb"),
        stderr=subprocess.STDOUT,
    )
    try:
        yield
        assert process.poll() is None, log.read_text(errors="replace")[-2000:]
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _answering(status: int) -> Iterator[int]:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def _listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def _answers(port: int, words: bytes) -> bytes:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as asking:
            asking.sendall(words)
            return asking.recv(100)
    except OSError:
        return b""
