"""What the stack starts, as data."""

import sys
from dataclasses import replace
from pathlib import Path

from app.embedded.commands import OurCommands, Plan, Wiring, environment, local_address
from app.embedded.ports import PortWish
from app.embedded.probes import HttpAnswers, ReadyFile

PLAN = Plan(data_dir=Path("/d"), workers=2, api=PortWish("api", 8000), beat=True)
WIRING = Wiring(
    "redis://:secret@127.0.0.1:1/0", "redis://127.0.0.1:2/0", "mongodb://127.0.0.1:3/", "http://sim"
)


def test_workers_drain_before_the_api_and_servers_go() -> None:
    commands = OurCommands()
    worker = commands.portless(PLAN, WIRING)[0]
    flower, api = commands.flower(PLAN, WIRING, 1), commands.api(PLAN, WIRING, 2)
    simulator = commands.simulator(PLAN, 3)
    orders = [spec.stop_order for spec in (flower, worker, api, simulator)]
    assert orders == sorted(orders)
    assert len(set(orders)) == 4
    assert worker.stop_limit_s > PLAN.drain_grace_s


def test_each_worker_has_its_own_name_and_ready_file() -> None:
    specs = OurCommands().portless(PLAN, WIRING)
    assert [spec.name for spec in specs] == ["worker-1", "worker-2", "beat"]
    assert specs[0].argv == (sys.executable, "-m", "workers.main", "--name", "worker-1")
    assert specs[0].ready == ReadyFile(Path("/d/run/worker-1.ready"))
    assert specs[0].env["BATCHWRIGHT_READY_FILE"] == "/d/run/worker-1.ready"
    assert specs[0].remove_first == (Path("/d/run/worker-1.ready"),)


def test_no_password_stands_in_a_command_line_or_a_repr() -> None:
    commands = OurCommands()
    specs = [
        commands.api(PLAN, WIRING, 1),
        commands.flower(PLAN, WIRING, 2),
        *commands.portless(PLAN, WIRING),
    ]
    assert not any("secret" in part for spec in specs for part in spec.argv)
    assert "secret" not in repr(WIRING)


def test_every_process_is_told_the_servers_and_how_many_workers_share_the_limits() -> None:
    env = environment(PLAN, WIRING, "api")
    assert env["BATCHWRIGHT_REDIS_URL"] == WIRING.redis_url
    assert env["BATCHWRIGHT_MONGODB_URL"] == WIRING.mongodb_url
    assert env["BATCHWRIGHT_SIMULATOR_ALL_MODELS"] == "false"
    assert env["BATCHWRIGHT_WORKER_PROCESSES"] == "2"


def test_a_broker_that_somebody_named_is_that_of_every_process_and_otherwise_none_is_told() -> None:
    named = replace(WIRING, broker_url="amqp://me:secret@rabbit.example//")
    commands = OurCommands()
    specs = [commands.api(PLAN, named, 1), commands.flower(PLAN, named, 2), *commands.portless(PLAN, named)]
    assert {spec.env["BATCHWRIGHT_BROKER_URL"] for spec in specs} == {named.broker_url}
    assert "secret" not in repr(named) and not any("secret" in part for spec in specs for part in spec.argv)
    assert "BATCHWRIGHT_BROKER_URL" not in environment(PLAN, WIRING, "api")


def test_the_api_is_told_where_the_stacks_key_lies_and_keeps_the_one_a_person_has_set() -> None:
    api = OurCommands().api(PLAN, WIRING, 1)
    assert api.argv[-2:] == ("--key-file", "/d/api_key")
    assert not any("BOOTSTRAP_KEY" in name for name in api.env)


def test_a_service_on_all_addresses_is_asked_on_loopback() -> None:
    assert local_address("0.0.0.0") == "127.0.0.1"
    assert local_address("::") == local_address("::1") == "[::1]"
    assert local_address("box.example") == "box.example"
    plan = Plan(data_dir=Path("/d"), workers=1, api=PortWish("api"), api_host="0.0.0.0")
    assert OurCommands().api(plan, WIRING, 9).ready == HttpAnswers("http://127.0.0.1:9/health")
