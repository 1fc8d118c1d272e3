"""The servers of docker-compose.yml: commands, files and healthchecks, run where this machine has their programs."""

from __future__ import annotations

import http.server
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.embedded.binaries import find_mongod, find_redis
from app.embedded.ports import PortClaims, PortWish
from tests.support.compose import ROOT, compose, health
from tests.support.eventually import eventually

pytestmark = [pytest.mark.integration, pytest.mark.stack]

SERVICES: dict[str, dict[str, Any]] = compose()["services"]
EVERYWHERE = {"0.0.0.0", "::"}


@pytest.mark.parametrize("name", ["redis", "cache"])
def test_a_redis_starts_by_its_command_and_is_found_healthy(name: str, tmp_path: Path) -> None:
    claims = PortClaims()
    port = claims.choose(PortWish(name))
    claims.release()
    command = [*_mounted(name)[1:], "--port", str(port), "--dir", str(tmp_path)]
    with _started([str(find_redis().path), *command], tmp_path, {}) as process:
        eventually(lambda: _answers(port, b"PING\r\n").startswith(b"+PONG"), 10.0)
        assert _addresses(process) & EVERYWHERE, "other containers reach it"
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
    with _started([str(binary.path), *command], tmp_path, binary.env) as process:
        eventually(lambda: _listens(port), 20.0)
        assert _addresses(process) & EVERYWHERE, "other containers reach it"
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


def _mounted(name: str) -> list[str]:
    """A server's command, with its files at their places in the checkout."""
    volumes = [volume.split(":") for volume in SERVICES[name]["volumes"]]
    places = {parts[1]: str(ROOT / parts[0]) for parts in volumes if parts[0].startswith(".")}
    return [places.get(word, word) for word in SERVICES[name]["command"]]


@contextmanager
def _started(
    command: Sequence[str], folder: Path, environ: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    log = folder / "log"
    process = subprocess.Popen(
        command,
        env={**os.environ, **environ},
        cwd=folder,
        stdout=log.open("wb"),
        stderr=subprocess.STDOUT,
    )
    try:
        yield process
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


def _addresses(process: subprocess.Popen[bytes]) -> set[str]:
    found = psutil.Process(process.pid).net_connections(kind="inet")
    return {each.laddr.ip for each in found if each.status == psutil.CONN_LISTEN}


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
