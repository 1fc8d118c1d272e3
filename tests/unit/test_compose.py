"""docker-compose.yml and the Dockerfile keep what docs/docker.md promises; stack/test_image.py runs what they run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from app.cli.building import TARGETS, tag_of
from config.kinds import ENV_KINDS
from config.serving import served
from config.settings import Settings, load_settings
from tests.support.compose import ROOT, compose, health, seconds
from tests.support.image import DOCKERFILE, context, instructions, stages

pytestmark = pytest.mark.fast

COMPOSE = compose()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
# Of our image, and told of servers and keys, as the simulator is not.
OURS = sorted(name for name, service in SERVICES.items() if "env_file" in service)
WORKERS = [name for name in OURS if name.startswith("worker")]
# What a healthcheck or a command may use, by image: what its maintainers put in it for other reasons. No image is known
# to hold curl for good, and wget comes and goes with busybox.
HOLDS = {
    "batchwright": {"python", "sh", "test", "find", "cat", "batchwright"},
    "redis": {"redis-cli", "redis-server", "grep", "sh"},
    "mongo": {"mongosh", "mongod"},
    "ollama/ollama": {"ollama"},
    "qdrant/qdrant": {"bash"},
    "prom/prometheus": {"promtool"},
    "grafana/grafana": {"bash"},
}
# These images have a user of their own that is not root.
NOT_ROOT = {"qdrant/qdrant", "prom/prometheus", "grafana/grafana"}
SECRETS = (
    "BATCHWRIGHT_BOOTSTRAP_KEY_FILE",
    "OPENAI_API_KEY_FILE",
    "ANTHROPIC_API_KEY_FILE",
    "GEMINI_API_KEY_FILE",
)
# What a worker may need beyond its grace, as the embedded stack has it (app/embedded/commands.py).
AFTER_GRACE_S = 8.0


def image(name: str) -> str:
    return str(SERVICES[name]["image"]).rpartition(":")[0]


def read_with(environment: dict[str, str], tmp_path: Path) -> Settings:
    """The settings that a container has, its secrets and files below a folder."""
    moved = {
        name: re.sub(r"^(?=/run/|/etc/)", str(tmp_path), str(value)) for name, value in environment.items()
    }
    return load_settings(moved, dotenv=Path("/dev/null"))


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_can_do_no_more_than_its_work(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    user = str(service.get("user", ""))
    assert (user and not user.startswith(("0", "root"))) or image(name) in {*NOT_ROOT, "batchwright"}
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_can_fill_neither_the_memory_nor_the_disk(name: str) -> None:
    service = SERVICES[name]
    limits = service["deploy"]["resources"]["limits"]
    assert limits.keys() == {"cpus", "memory", "pids"}
    # Docker starts nothing whose limit is over the machine's cores.
    assert float(limits["cpus"]) <= 2
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}


def test_our_image_runs_as_a_user_that_is_not_root_and_says_so_by_number() -> None:
    (user,) = [
        each.rest for each in stages(DOCKERFILE.read_text(encoding="utf-8"))["base"][1] if each.name == "USER"
    ]
    assert int(user) > 0


def test_one_service_builds_our_image_and_nobody_looks_for_it_elsewhere() -> None:
    # Built for several services at once it is exported under one name several times, and docker lets all but one fail.
    assert [name for name, service in SERVICES.items() if "build" in service] == ["api"]
    ours = [service for name, service in SERVICES.items() if image(name) == "batchwright"]
    assert len(ours) > len(WORKERS)
    assert {(each["image"], each["pull_policy"]) for each in ours} == {(tag_of("core"), "never")}
    assert SERVICES["api"]["build"] == {"context": ".", "target": "core"}


@pytest.mark.parametrize("name", [name for name in SERVICES if image(name) != "batchwright"])
def test_an_image_of_others_names_a_version(name: str) -> None:
    tag = SERVICES[name]["image"].rpartition(":")[2]
    assert re.match(r"v?\d+\.\d+", tag), tag


@pytest.mark.parametrize("name", SERVICES)
def test_a_healthcheck_uses_what_the_image_holds(name: str) -> None:
    if name == "models":
        # Its end is what is waited for; a network that fails once must not be the end of all.
        assert SERVICES[name]["restart"].startswith("on-failure:")
        return
    words = health(SERVICES[name])
    text = " ".join(words)
    assert not re.search(r"\b(curl|wget|nc)\b", text)
    assert words[0] in HOLDS[image(name)] | {"/bin/sh"}
    if words[0] == "/bin/sh":
        started = re.findall(r"(?:^|\$\(|\|\s*)([a-z][\w-]*)", words[-1])
        assert set(started) <= HOLDS[image(name)], started
    check = SERVICES[name]["healthcheck"]
    assert seconds(check["timeout"]) <= seconds(check["interval"]) or name == "ollama"
    assert check["retries"] >= 3


def test_ollama_may_take_its_time() -> None:
    check = SERVICES["ollama"]["healthcheck"]
    assert (check["start_period"], check["timeout"], check["retries"]) == ("120s", "30s", 5)
    assert health(SERVICES["ollama"]) == ["ollama", "list"]


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_starts_before_what_it_needs_is_healthy(name: str) -> None:
    needs = SERVICES[name].get("depends_on", {})
    for other, how in needs.items():
        assert how["condition"] == (
            "service_completed_successfully" if other == "models" else "service_healthy"
        )
        # What is behind a profile may be missing.
        assert how.get("required", True) is (
            "profiles" not in SERVICES[other] or "profiles" in SERVICES[name]
        )
    if name in OURS and name != "models":
        assert {"redis", "cache", "mongodb"} <= needs.keys()


def test_a_worker_has_the_time_that_its_drain_takes() -> None:
    grace_s = Settings().worker.drain_grace_s
    for name in WORKERS:
        assert seconds(SERVICES[name]["stop_grace_period"]) >= grace_s + AFTER_GRACE_S


def test_every_provider_has_one_service_of_workers_whatever_it_is_called() -> None:
    wishes = [SERVICES[name]["environment"]["BATCHWRIGHT_WORKER_PROVIDERS"] for name in WORKERS]
    for provider in (*ENV_KINDS, "azure", "sim"):
        assert [served([provider], wish) for wish in wishes].count((provider,)) == 1, provider


def test_without_any_variable_every_process_of_ours_reads_its_settings(tmp_path: Path) -> None:
    for name in OURS:
        settings = read_with(SERVICES[name]["environment"], tmp_path)
        assert settings.data_dir == Path("/data") and settings.servers.redis_url == "redis://redis:6379/0"


@pytest.mark.parametrize("variable", SECRETS)
def test_a_key_in_a_file_is_a_secret_and_not_a_variable(variable: str, tmp_path: Path) -> None:
    told = compose({variable: "keys/mine"})
    place = told["services"]["api"]["environment"][variable]
    secret = Path(place).name
    assert place == f"/run/secrets/{secret}" and told["secrets"][secret]["file"] == "keys/mine"
    for name in OURS:
        assert secret in told["services"][name]["secrets"]
        assert told["services"][name]["environment"][variable] == place
    inside = tmp_path / "run" / "secrets" / secret
    inside.parent.mkdir(parents=True)
    inside.write_text("sk-1234567890\n")
    settings = read_with(told["services"]["api"]["environment"], tmp_path)
    keys = [settings.api.bootstrap_key, *(provider.api_key for provider in settings.providers)]
    assert [key.reveal() for key in keys if key] == ["sk-1234567890"]


def test_a_file_of_settings_or_authorities_is_mounted_where_the_processes_look_for_it() -> None:
    given = {"BATCHWRIGHT_CONFIG": "mine.toml", "BATCHWRIGHT_HTTP_CA_FILE": "keys/ca.pem"}
    told = compose(given)
    for name in OURS:
        service = told["services"][name]
        places = {each["target"]: told["configs"][each["source"]]["file"] for each in service["configs"]}
        assert {variable: places[service["environment"][variable]] for variable in given} == given


def test_no_service_has_a_password_or_a_key_in_its_environment() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"KEY|PASSWORD|SECRET|TOKEN", variable):
                assert variable.endswith("_FILE") and value == "", (name, variable)


def test_a_secret_that_nobody_gave_is_an_empty_file() -> None:
    given = [*COMPOSE["secrets"].values(), *COMPOSE["configs"].values()]
    assert {each["file"] for each in given} == {"./deploy/none"}
    assert (ROOT / "deploy" / "none").read_bytes() == b""


def test_only_our_processes_share_a_network_with_the_servers() -> None:
    assert COMPOSE["networks"]["servers"] == {"internal": True}
    inside = {name for name, service in SERVICES.items() if "servers" in service.get("networks", ())}
    assert inside == {*OURS, "redis", "cache", "mongodb", "qdrant", "simulator"}
    assert all(SERVICES[name]["networks"] == ["servers"] for name in inside - set(OURS))


def test_the_files_of_servers_say_what_the_urls_say() -> None:
    def ours(file: str, what: str) -> str:
        found = re.search(
            rf"^\s*{what}:? (\S+)$", (ROOT / "config" / file).read_text(encoding="utf-8"), re.MULTILINE
        )
        assert found
        return found[1]

    environment = SERVICES["api"]["environment"]
    assert environment["BATCHWRIGHT_REDIS_URL"].endswith(f":{ours('redis-control.conf', 'port')}/0")
    assert environment["BATCHWRIGHT_CACHE_REDIS_URL"].endswith(f":{ours('redis-cache.conf', 'port')}/0")


def test_the_replica_set_has_the_name_that_volumes_of_earlier_versions_know() -> None:
    command = SERVICES["mongodb"]["command"]
    assert command[command.index("--replSet") + 1] == "rs0"
    assert SERVICES["api"]["environment"]["BATCHWRIGHT_MONGODB_URL"].endswith("replicaSet=rs0")
    assert '_id: "rs0"' in health(SERVICES["mongodb"])[-1]


@pytest.mark.parametrize("name", ["redis", "cache"])
def test_redis_has_room_above_its_data_and_eviction_comes_before_the_limit(name: str) -> None:
    (file,) = [volume.split(":")[0] for volume in SERVICES[name]["volumes"] if volume.startswith(".")]
    found = re.search(r"^maxmemory (\d+)(mb|gb)$", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
    assert found
    most = int(found[1]) << {"mb": 20, "gb": 30}[found[2]]
    limit = SERVICES[name]["deploy"]["resources"]["limits"]["memory"]
    assert int(limit[:-1]) << {"m": 20, "g": 30}[limit[-1]] >= 1.5 * most


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_mounts_is_there(name: str) -> None:
    for volume in SERVICES[name].get("volumes", ()):
        source = volume.partition(":")[0]
        if not source.startswith("."):
            assert source in COMPOSE["volumes"]
            continue
        assert volume.endswith(":ro")
        if source.startswith(("./deploy/prometheus", "./deploy/grafana")) and not (ROOT / source).exists():
            pytest.skip(f"{source} is not written yet")
        assert (ROOT / source).exists(), source


def test_both_targets_of_the_image_hold_the_same_code_and_packages_by_hash() -> None:
    text = DOCKERFILE.read_text(encoding="utf-8")
    assert text.startswith("# syntax=docker/dockerfile:1.7\n")
    made = stages(text)
    assert list(made)[-1] == "core" and set(TARGETS) <= made.keys()
    code = {
        target: [each.rest for each in made[target][1] if each.flags.get("from") == "code"]
        for target in TARGETS
    }
    assert code["core"] == code["audio"] != []
    installs = [each for each in instructions(text) if each.name == "RUN" and " install --quiet" in each.rest]
    assert len(installs) == len(TARGETS)
    for each in installs:
        assert "--require-hashes --no-deps" in each.rest and "--only-binary ':all:'" in each.rest
        assert "type=cache" in each.flags["mount"]
    assert "HEALTHCHECK" not in {each.name for each in instructions(text)}, "each role has one of its own"


def test_the_build_is_sent_the_code_and_nothing_else() -> None:
    sent = context()
    inside = {path.relative_to(ROOT).as_posix() for path in sent}
    assert sum(path.stat().st_size for path in sent) < 100_000_000
    assert {path.partition("/")[0] for path in inside} == {
        *("LICENSE", "app", "batchwright", "config", "deploy", "workers")
    }
    copied = [each for each in instructions(DOCKERFILE.read_text(encoding="utf-8")) if each.name == "COPY"]
    for each in copied:
        if "from" not in each.flags:
            source = each.rest.split()[0]
            assert any(path == source or path.startswith(f"{source}/") for path in inside), source
