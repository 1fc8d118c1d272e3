"""A private RabbitMQ node for the chaos suite: its own name, ports, cookie, data and epmd, on loopback only.

    with running_rabbit(directory) as rabbit:
        Queue(rabbit.url) ...
        rabbit.kill()
        rabbit.start()

Debian's package is enough (`apt-get install rabbitmq-server`); a service of it that may run here is not touched.
Where the package is absent, what asks for a node is skipped. A start takes some seconds.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection

from tests.support.eventually import eventually

# Not the one in /usr/sbin, which changes to the user and the directories of the installed service.
_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_LEASH = Path(__file__).resolve().parents[2] / "app" / "embedded" / "leash.py"
_START_S = 60.0
# One core's worth of schedulers: it shares the machine with the workers under test.
_ERLANG = "+S 1:1 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}"
_CONFIG = """
listeners.tcp.default = 127.0.0.1:{port}
loopback_users = none
disk_free_limit.absolute = 50MB
vm_memory_high_watermark.absolute = 512MB
log.file.level = warning
"""


@dataclass
class Rabbit:
    """The node and its URL; what is written down survives `kill` and `start`."""

    directory: Path
    port: int
    epmd_port: int
    dist_port: int
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """With the password of a new node's only user."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def start(self) -> None:
        """Start it and wait until it lets a client in."""
        self.begin_start()
        eventually(self._lets_in, _START_S, what=self._log)

    def begin_start(self) -> None:
        """Start it; it lets nobody in before some seconds have passed."""
        with (self.directory / "node.log").open("ab") as log:
            self._running.append(_leashed([str(_SERVER)], self._environ(), self.directory, log.fileno()))

    def kill(self) -> None:
        """SIGKILL to the whole node: nothing is flushed, nobody is told."""
        while self._running:
            process = self._running.pop()
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def restart(self) -> None:
        """Stop it in good order, and start it again."""
        process = self._running.pop()
        process.terminate()
        process.wait(timeout=_START_S)
        self.start()

    def pause(self) -> None:
        """It accepts connections and bytes, and answers none."""
        os.killpg(self._running[-1].pid, signal.SIGSTOP)

    def resume(self) -> None:
        """After `pause`."""
        os.killpg(self._running[-1].pid, signal.SIGCONT)

    @contextmanager
    def client(self) -> Iterator[Any]:
        """kombu's connection, for a test to look, purge and delete by; its published type lacks half of AMQP."""
        with Connection(self.url, connect_timeout=5) as connection:
            yield connection

    def depth(self, queue_name: str) -> int:
        """Messages that wait in a queue that is there."""
        with self.client() as connection:
            return int(connection.default_channel.queue_declare(queue_name, passive=True).message_count)

    def consumers(self, queue_name: str) -> int:
        """How many consume from a queue; 0 while the node or the queue is away."""
        with self.client() as connection:
            try:
                return int(connection.default_channel.queue_declare(queue_name, passive=True).consumer_count)
            except (*connection.connection_errors, *connection.channel_errors):
                return 0

    def _lets_in(self) -> bool:
        if self._running[-1].poll() is not None:
            pytest.fail(f"RabbitMQ ended with {self._running[-1].returncode}: {self._log()}")
        try:
            socket.create_connection(("127.0.0.1", self.port), 1.0).close()
            with self.client() as connection:
                connection.connect()
        except OSError:
            return False
        return True

    def _log(self) -> str:
        return "".join(path.read_text(errors="replace")[-2000:] for path in self.directory.glob("*.log"))

    def _environ(self) -> dict[str, str]:
        at = self.directory
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(at),  # where Erlang keeps the cookie
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_CRASH_DUMP_BYTES": "0",
            "RABBITMQ_NODENAME": "batchwright-test@localhost",
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "RABBITMQ_CONF_ENV_FILE": str(at / "none.conf"),
            "RABBITMQ_CONFIG_FILE": str(at / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(at / "none.config"),
            "RABBITMQ_MNESIA_BASE": str(at / "data"),
            "RABBITMQ_LOG_BASE": str(at),
            "RABBITMQ_PID_FILE": str(at / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(at / "plugins"),
            "RABBITMQ_PLUGINS_EXPAND_DIR": str(at / "expanded"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERLANG,
            # Then the script becomes the node instead of watching over it.
            "RUNNING_UNDER_SYSTEMD": "true",
        }


@contextmanager
def running_rabbit(directory: Path) -> Iterator[Rabbit]:
    """Start a node with nothing in it, yield it once it lets clients in, end it."""
    if not _SERVER.exists() or shutil.which("epmd") is None:
        pytest.skip("RabbitMQ is not installed: apt-get install rabbitmq-server")
    directory.mkdir(parents=True, exist_ok=True)
    port, epmd_port, dist_port = _free_ports(3)
    rabbit = Rabbit(directory, port, epmd_port, dist_port)
    (directory / "rabbitmq.conf").write_text(_CONFIG.format(port=rabbit.port))
    (directory / "plugins").write_text("[].\n")
    command = ["epmd", "-port", str(rabbit.epmd_port), "-address", "127.0.0.1"]
    # The node would start one of its own, as a daemon that outlives it.
    epmd = _leashed(command, {"PATH": os.environ["PATH"]}, directory, subprocess.DEVNULL)
    try:
        rabbit.start()
        yield rabbit
    finally:
        rabbit.kill()
        os.killpg(epmd.pid, signal.SIGKILL)
        epmd.wait()


def _leashed(argv: list[str], env: dict[str, str], cwd: Path, output: int) -> subprocess.Popen[bytes]:
    """A session of its own, which ends with this process."""
    if sys.platform == "linux":
        argv = [sys.executable, "-I", "-S", str(_LEASH), str(os.getpid()), *argv]
    return subprocess.Popen(
        argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
    )


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rabbit]:
    """A node of a module's own; a module imports the fixture by name."""
    with running_rabbit(tmp_path_factory.mktemp("rabbit")) as node:
        yield node
