"""Which checks `doctor` makes: of the running stack's servers, else of those the settings name.

Where a stack would bring a server of its own and none runs, the program for it is looked for instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.cli import words
from app.cli.doctor_providers import provider_checks
from app.cli.reach import shown_url
from app.client.locate import NoServer, locate
from app.doctor.broker_check import check_broker
from app.doctor.disk_check import check_disk
from app.doctor.findings import Check, Finding, State
from app.doctor.indexes_check import check_indexes
from app.doctor.limits_check import check_limits
from app.doctor.machine import check_machine, transport
from app.doctor.measures import RoundTrip, Timing, ping_often
from app.doctor.mongo_check import check_mongodb, mongodb_timing
from app.doctor.pauses_check import check_pauses
from app.doctor.redis_check import CACHE, CONTROL, Role, check_redis, redis_timing
from app.doctor.upkeep_check import check_upkeep
from app.doctor.worker_check import check_workers
from app.embedded.binaries import Binary, find_mongod, find_redis
from app.embedded.clients import left_behind
from app.embedded.errors import StackError

if TYPE_CHECKING:
    import httpx

    from app.embedded.state import StackState
    from config.settings import Settings

_API_WITHIN_S = 2.0
_API_SLOW_MS = 100.0
_HEALTH = "/health"
_WITH_KEY = "/v1/batches?limit=1"


@dataclass(frozen=True, slots=True)
class Places:
    """Where the servers are; None for those that a stack would start and has not."""

    control_redis: str | None = field(repr=False)
    cache_redis: str | None = field(repr=False)
    mongodb: str | None = field(repr=False)
    api: str | None
    api_key: str | None = field(repr=False)


def places_of(settings: Settings, state: StackState | None) -> Places:
    """The running stack's, which knows what it was started with; else those the settings name."""
    try:
        place = locate(settings)
    except NoServer:
        place = None
    url, key = (place.url, place.key) if place else (None, None)
    known = settings.servers if state is None else state
    return Places(known.redis_url, known.cache_redis_url, known.mongodb_url, url, key)


def all_checks(settings: Settings, state: StackState | None, places: Places) -> Mapping[str, Check]:
    """What to look at, by name, in the order in which it is shown."""
    names = [provider.name for provider in settings.providers]
    checks: dict[str, Check] = {
        "batchwright": lambda: check_machine(settings),
        "stack": lambda: [stack(settings, state)],
        CONTROL.name: _redis(CONTROL, places.control_redis),
        CACHE.name: _redis(CACHE, places.cache_redis),
    }
    if mongodb_url := places.mongodb:
        database = settings.servers.mongodb_database
        checks["mongodb"] = lambda: check_mongodb(mongodb_url)
        checks["mongodb disk"] = lambda: check_disk(mongodb_url, database, settings.disk)
        checks["mongodb indexes"] = lambda: check_indexes(mongodb_url, database)
        has_beat = state is not None and state.kind == "up"
        evaluates = settings.monitoring.enabled
        checks["upkeep"] = lambda: check_upkeep(mongodb_url, database, has_beat=has_beat, evaluates=evaluates)
        checks["pauses"] = lambda: check_pauses(mongodb_url, database)
        checks["workers"] = lambda: check_workers(
            mongodb_url, database, expected=state is not None, configured=names
        )
    else:
        checks["mongodb"] = lambda: [_program("mongodb", lambda: find_mongod(settings.data_dir))]
    if broker_url := settings.servers.broker_url:
        checks["broker"] = lambda: check_broker(broker_url, names)
    if api_url := places.api:
        checks["api"] = lambda: [api(api_url, places.api_key)]
    if control_url := places.control_redis:
        checks["limits"] = lambda: check_limits(control_url, settings.providers)
    checks["transport"] = lambda: [transport(settings.http.transport)]
    return {**checks, **provider_checks(settings, state)}


def all_timings(places: Places) -> Mapping[str, Timing]:
    """How to measure the round trip to each server, by the name of its finding."""
    known = (
        (CONTROL.name, places.control_redis, redis_timing),
        (CACHE.name, places.cache_redis, redis_timing),
        ("mongodb", places.mongodb, mongodb_timing),
        ("api", places.api, _api_timing),
    )
    return {name: timing(url) for name, url, timing in known if url is not None}


def _redis(role: Role, url: str | None) -> Check:
    if url is None:
        return lambda: [_program(role.name, find_redis)]
    return lambda: check_redis(role, url)


def _program(name: str, find: Callable[[], Binary]) -> Finding:
    """Whether a stack would find the server it starts."""
    try:
        found = find()
    except StackError as error:
        return Finding(name, "problem", error.message, error.hint)
    text = f"not up; a stack starts {found.path.name} {found.version}"
    return Finding(
        name, "ok", text, data={"version": found.version, "path": str(found.path), "embedded": True}
    )


def stack(settings: Settings, state: StackState | None) -> Finding:
    """Whether one runs here, and whether it knows the providers that these settings name."""
    if state is None and (left := left_behind(settings.data_dir)):
        text = f"none runs: its owner died, and its processes are still ending: {', '.join(row.name for row in left)}"
        return Finding("stack", "warning", text, "`batchwright down` ends them now", {"running": False})
    if state is None:
        text = f"none runs in {settings.data_dir}; `batchwright up` or `run` starts one"
        return Finding("stack", "ok", text, data={"running": False})
    data = {"running": True, "pid": state.owner_pid, "kind": state.kind, "versions": dict(state.versions)}
    text = f"runs since {words.moment(state.started_at)} (process {state.owner_pid})"
    now = {each.name: each.base_url for each in settings.providers if each.kind != "sim"}
    if now != dict(state.providers):
        fix = "`batchwright down`, then `batchwright up`"
        return Finding("stack", "warning", f"{text}, with other providers than the settings name", fix, data)
    return Finding("stack", "ok", text, data=data)


def api(url: str, key: str | None) -> Finding:
    """Whether it answers, and takes the key that the other verbs send."""
    import httpx

    where = shown_url(url)
    try:
        with _api_client(url) as client:
            client.get(_HEALTH).raise_for_status()
            is_refused = _refuses(client, key)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        text = f"{where} does not answer ({type(error).__name__})"
        return Finding("api", "problem", text, "see `batchwright logs api`, or correct BATCHWRIGHT_API_URL")
    if is_refused:
        # Without one nothing but this command line lacks it: a machine of workers alone may be well.
        state: State = "problem" if key else "warning"
        said = "refuses the key" if key else "wants a key, and none is set"
        fix = "set BATCHWRIGHT_API_KEY to a key of this server"
        fix += ", or unset it to use that of the stack that runs here" if key else ""
        return Finding("api", state, f"{where} answers, but {said}", fix, {"address": where})
    return Finding("api", "ok", f"{where} answers", data={"address": where})


def _refuses(client: httpx.Client, key: str | None) -> bool:
    import httpx

    try:
        asked = client.get(_WITH_KEY, headers={"Authorization": f"Bearer {key}"} if key else {})
    except httpx.HTTPError:
        return False  # its database may be away, which another check says
    return asked.status_code == httpx.codes.UNAUTHORIZED


def _api_timing(url: str) -> Timing:
    def measure() -> RoundTrip:
        with _api_client(url) as client:
            return ping_often(lambda: client.get(_HEALTH).raise_for_status())

    return Timing(measure, _API_SLOW_MS)


def _api_client(url: str) -> httpx.Client:
    import httpx

    from app.client.connection import is_loopback

    proxies = not is_loopback(httpx.URL(url).host)
    return httpx.Client(base_url=url, timeout=_API_WITHIN_S, trust_env=proxies)
