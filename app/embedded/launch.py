"""Start what a plan names: first the servers and the simulator together, then everything of ours together.

stack.py calls the two in turn; what they start lives in its supervisor, so the stop is there too.
"""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from app.embedded import servers
from app.embedded.commands import Commands, Plan, Wiring, local_address
from app.embedded.errors import StackError
from app.embedded.files import read_json, write_private
from app.embedded.ports import PortClaims, PortWish
from app.embedded.probes import reachable
from app.embedded.process import ProcessSpec
from app.embedded.servers import Started, on_free_port
from app.embedded.supervisor import Supervisor

if TYPE_CHECKING:
    from config.settings import Servers

Start = Callable[[threading.Event], Started]


@dataclass(frozen=True)
class Launch:
    """Where and how things are started; one per start of a stack."""

    plan: Plan
    commands: Commands
    supervisor: Supervisor
    ports: PortClaims
    say: Callable[[str], None]

    def start_servers(self, named: "Servers") -> dict[str, Started]:
        """All servers and the simulator at once; a server somebody named is looked at, never started.

        Returns: by name (mongod, control-redis, cache-redis, broker where one is named, sim).
        """
        data_dir = self.plan.data_dir
        last = read_json(data_dir / "run" / "ports.json") or {}
        sources = (
            ("mongod", named.mongodb_url, "BATCHWRIGHT_MONGODB_URL", servers.start_mongod),
            ("control-redis", named.redis_url, "BATCHWRIGHT_REDIS_URL", servers.start_control_redis),
            ("cache-redis", named.cache_redis_url, "BATCHWRIGHT_CACHE_REDIS_URL", servers.start_cache_redis),
        )
        starts: dict[str, Start] = {}
        for name, url, setting, embedded in sources:
            if url is None:
                starts[name] = embedded(self.supervisor, data_dir, self.ports, wish=last.get(name))
            else:
                starts[name] = partial(_use_named, name, url, setting)
        if named.broker_url is not None:  # none is ever started: without a named one it is the control Redis
            starts["broker"] = partial(_use_named, "broker", named.broker_url, "BATCHWRIGHT_BROKER_URL")
        if self.plan.simulator is not None:
            describe = partial(self.commands.simulator, self.plan)
            starts["sim"] = self._on_port(self.plan.simulator, describe)
        started = self._all_at_once(starts)
        # The same ports next time: mongod needs no new configuration, and a URL somebody noted stays true.
        kept = {name: server.port for name, server in started.items() if server.port}
        write_private(data_dir / "run" / "ports.json", json.dumps(kept) + "\n")
        return started

    def start_ours(self, wiring: Wiring) -> dict[str, Started]:
        """API, Flower, workers and beat at once. Returns: those with a URL by name (api, flower)."""
        plan, commands = self.plan, self.commands
        starts: dict[str, Start] = {
            "api": self._on_port(plan.api, partial(commands.api, plan, wiring), local_address(plan.api_host))
        }
        if plan.flower is not None:
            starts["flower"] = self._on_port(plan.flower, partial(commands.flower, plan, wiring))
        for spec in commands.portless(plan, wiring):
            starts[spec.name] = partial(self._without_port, spec)
        return {name: started for name, started in self._all_at_once(starts).items() if started.url}

    def _on_port(
        self, wish: PortWish, describe: Callable[[int], ProcessSpec], address: str = "127.0.0.1"
    ) -> Start:
        def start(cancel: threading.Event) -> Started:
            def on_port(port: int) -> Started:
                self.supervisor.start(describe(port), cancel)
                return Started(f"http://{address}:{port}", port, "")

            return on_free_port(self.ports, wish, on_port)

        return start

    def _without_port(self, spec: ProcessSpec, cancel: threading.Event) -> Started:
        self.supervisor.start(spec, cancel)
        return Started("", 0, "")

    def _all_at_once(self, starts: Mapping[str, Start]) -> dict[str, Started]:
        started: dict[str, Started] = {}

        def keep(name: str, start: Start, cancel: threading.Event) -> None:
            started[name] = start(cancel)
            self.say(f"{name} is ready")

        self.supervisor.start_all([partial(keep, name, start) for name, start in starts.items()])
        return started


def _use_named(name: str, url: str, setting: str, cancel: threading.Event) -> Started:  # noqa: ARG001 - a `Start`
    """Raises: StackError if a server a person named does not answer; its password is not shown."""
    if not reachable(url):
        scheme, _, rest = url.partition("://")
        shown = f"{scheme}://{rest.rpartition('@')[2]}"
        raise StackError(f"{name} does not answer at {shown}", f"start it, or correct {setting}")
    return Started(url, 0, "")
