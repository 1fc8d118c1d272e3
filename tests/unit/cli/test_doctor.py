"""`doctor`: what each check concludes, and how the findings read."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from app.cli import doctor as verb
from app.cli.doctor_checks import api
from app.cli.doctor_providers import finding
from app.cli.main import app
from app.cli.reach import Reached
from app.doctor.findings import Finding
from app.doctor.wire import Wire, try_wire
from app.doctor.worker_check import check_workers, of_unserved, of_versions, of_vitals
from app.version import VERSION
from config.settings import Provider, Secret
from tests.support.servers import TestServers
from workers.store.mongo import connect
from workers.store.worker_processes import WorkerProcesses
from workers.transport.port import ClientStats
from workers.vitals import ProviderVitals, Vitals

KEY = "sk-never-shown"
NOBODY = "127.0.0.1:1"
CLIENT = ClientStats(
    client="httpx",
    connections=2,
    connections_opened=2,
    in_flight=7,
    requests=1_000,
    protocols={"HTTP/2": 990},
    bytes_sent=12_000,
    bytes_received=3_400_000,
    retired=1,
)
WIRE = Wire(connect_ms=12.0, tls="TLSv1.3", tls_ms=20.0, protocol="HTTP/2")


def signs(**changed: Any) -> Vitals:
    """Of a process that is well, or is not in one way."""
    client = replace(CLIENT, failures=changed.pop("failures", {}))
    providers = {"openai": ProviderVitals(client=client, slots_in_use=7, slots=256)}
    there: dict[str, Any] = {"version": VERSION}
    return Vitals(transport="httpx", started_at=0.0, providers=providers, **there | changed)


def provider(**changed: Any) -> Provider:
    known: dict[str, Any] = {"api_key_env": "ACME_API_KEY", "api_key": Secret(KEY)}
    return Provider(name="acme", kind="openai", base_url="https://api.example/v1", **known | changed)


@pytest.mark.parametrize(
    ("wire", "reached", "state", "said"),
    [
        (WIRE, Reached("reachable", models=frozenset("ab")), "ok", "key accepted, lists 2 models"),
        (WIRE, Reached("key refused", "status 401"), "problem", "it refuses the key (status 401)"),
        (WIRE, Reached("no key", "set ACME_API_KEY"), "warning", "no key is set"),
        (WIRE, Reached("unreachable", "status 503"), "warning", "does not come (status 503)"),
        (Wire(proxied=True), Reached("reachable"), "ok", "through a proxy"),
        (Wire(trouble="no way", fix="go"), Reached("unreachable", "x"), "problem", "no way"),
    ],
)
def test_a_provider_is_judged_by_its_wire_and_its_answer_and_its_key_is_never_shown(
    wire: Wire, reached: Reached, state: str, said: str
) -> None:
    found = finding(provider(), wire, reached)
    assert found.state == state and said in found.text and bool(found.fix) == (state != "ok")
    assert found.data["key"] is True and KEY not in json.dumps(found.as_dict())


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@pytest.fixture
def tls_port(authority: trustme.CA) -> Iterator[int]:
    """A server that shakes hands once and speaks HTTP/2 only."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", key_type=trustme.KeyType.ECDSA).configure_cert(context)
    context.set_alpn_protocols(["h2"])

    def shake(listening: socket.socket) -> None:
        sock, _ = listening.accept()
        try:
            context.wrap_socket(sock, server_side=True).close()
        except OSError:
            sock.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=shake, args=(listening,), daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(5)


def test_the_protocol_is_what_the_server_chooses_in_its_handshake(
    tls_port: int, authority: trustme.CA, tmp_path: Path
) -> None:
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    wire = try_wire(f"https://localhost:{tls_port}/v1", ca_file=ca_file)
    assert (wire.trouble, wire.protocol, wire.tls) == ("", "HTTP/2", "TLSv1.3")
    assert wire.connect_ms is not None and wire.connect_ms > 0


def test_an_authority_that_cannot_be_read_is_what_is_said_to_be_wrong(tls_port: int, tmp_path: Path) -> None:
    wire = try_wire(f"https://localhost:{tls_port}", ca_file=tmp_path / "nothing.pem")
    assert "nothing.pem cannot be read" in wire.trouble and "CA_FILE" in wire.fix


def test_a_certificate_of_a_stranger_and_a_closed_port_are_told_apart(tls_port: int) -> None:
    stranger, closed = try_wire(f"https://localhost:{tls_port}"), try_wire(f"http://{NOBODY}")
    assert "certificate is not accepted" in stranger.trouble and "CA_FILE" in stranger.fix
    assert f"cannot connect to {NOBODY} (connection refused)" in closed.trouble


# --- the running workers


@pytest.mark.parametrize(
    ("changed", "state", "said"),
    [
        (
            {"failures": {"cancelled": 900, "CallTimeout": 3}},
            "ok",
            "without an answer: 900 cancelled, 3 CallTimeout",
        ),
        ({"failures": {"TransportError": 60}}, "warning", "60 TransportError"),
        ({"loop_lag_s": 2.0}, "warning", "its loop is 2.0 s late"),
        ({"own": {"open_files": 900, "open_files_limit": 1024}}, "warning", "900 of 1,024 files are open"),
        ({"own": {"open_files": 9, "open_files_limit": -1}}, "ok", "httpx"),
        (
            {"record_buffer_oldest_s": 9.0, "record_buffer_results": 40},
            "warning",
            "40 results wait for MongoDB",
        ),
    ],
)
def test_a_worker_is_judged_by_its_vital_signs(changed: dict[str, Any], state: str, said: str) -> None:
    found = of_vitals("worker-1", signs(**changed), 1.0)
    assert found.state == state and said in found.text and bool(found.fix) == (state != "ok")


def test_running_workers_show_their_clients_and_a_stack_without_one_is_a_problem(
    servers: TestServers, capsys: pytest.CaptureFixture[str]
) -> None:
    database = f"{servers.mongodb_database}_doctor"
    with connect(servers.mongodb_url) as client:
        WorkerProcesses(client[database]).beat("w@h:1", providers=[], slots=1, stats=signs().to_doc())
        found = check_workers(servers.mongodb_url, database, expected=True)
        of_nobody = check_workers(servers.mongodb_url, database, expected=True, configured=["openai"])
        client.drop_database(database)
        (none,) = check_workers(servers.mongodb_url, database, expected=True)
        (nor_expected,) = check_workers(servers.mongodb_url, database, expected=False)
    assert (none.state, nor_expected.state) == ("problem", "warning")
    assert [(each.name, each.state) for each in found] == [("workers", "ok"), ("worker-1", "ok")]
    assert {each.name for each in of_nobody} - {each.name for each in found} == {"workers providers"}
    assert found[1].data["clients"]["openai"]["protocols"] == {"HTTP/2": 990}
    verb.show(found)
    row = next(line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("worker-1"))
    assert " ".join(row) == "worker-1 openai 1k 2 7 HTTP/2 12 kB 3.4 MB 1"


def test_processes_of_another_version_are_named_and_those_of_ours_are_not() -> None:
    assert of_versions({}) == of_versions({VERSION: 3}) == []
    (found,) = of_versions({VERSION: 1, "unknown": 2})
    assert found.state == "warning" and f"1 of {VERSION}, 2 of unknown" in found.text and found.fix


def test_a_configured_provider_that_no_living_worker_serves_is_named() -> None:
    assert of_unserved([], {}) == of_unserved(["openai"], {"openai": 8, "sim": 8}) == []
    (found,) = of_unserved(["openai", "gemini", "sim"], {"openai": 8, "sim": 0})
    assert found.state == "warning" and "none serves gemini, sim" in found.text and found.fix
    assert found.data == {"unserved": ["gemini", "sim"]}


# --- how it reads


def test_the_gravest_stand_last_and_round_trips_have_a_table_of_their_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    trip = {"pings": 100, "min_ms": 0.1, "median_ms": 0.25, "p99_ms": 1.5}
    data = {"round_trip": trip, "clock_offset_s": -0.002, "version": "8.0"}
    findings = [
        Finding("api", "problem", "away", "start it"),
        Finding("disk", "warning", "full", "free some"),
        Finding("redis", "ok", "well", data=data),
    ]
    verb.show(findings)
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    assert lines[1] == ["redis", "100", "0.10", "0.25", "1.50", "-2", "ms", "8.0"]
    assert [line[0] for line in lines if line[0] in ("ok", "warning", "problem")] == [
        "ok",
        "warning",
        "problem",
    ]


@given(
    st.lists(st.sampled_from(("a", "word", "12,345", "0.25 ms", "http://a.example/b-c")), min_size=1),
    st.integers(60, 140),
)
def test_no_word_and_no_number_is_broken_at_any_width(parts: list[str], width: int) -> None:
    lines = [line.plain for line in verb.lines_of(Finding("x", "ok", " ".join(parts)), 20, width)]
    assert [word for line in lines for word in line.split()] == ["✓", "ok", "x", *" ".join(parts).split()]
    assert all(len(line) <= width for line in lines)
    assert not any(line.endswith("0.25") for line in lines)


@pytest.mark.parametrize(
    ("states", "said"),
    [
        (("ok", "ok"), "all is well"),
        (("ok", "warning"), "1 warning"),
        (("problem", "warning", "problem"), "2 problems and 1 warning"),
    ],
)
def test_the_last_line_counts(states: Any, said: str) -> None:
    assert verb.closing([Finding("x", state, "") for state in states]) == said


@pytest.fixture
def api_url() -> Iterator[str]:
    """An API that knows one key."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/health" or self.headers["Authorization"] == f"Bearer {KEY}"
            self.send_response(200 if known else 401)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(5)


def test_an_api_that_refuses_the_key_of_the_other_verbs_is_not_called_well(api_url: str) -> None:
    found = [api(api_url, key) for key in (KEY, "bw_wrong", None)]
    assert [each.state for each in found] == ["ok", "problem", "warning"]
    assert "refuses the key" in found[1].text and "BATCHWRIGHT_API_KEY" in found[1].fix
    assert "none is set" in found[2].text and "bw_wrong" not in str(found)


def test_the_verb_works_without_a_stack_and_its_exit_code_tells_a_problem_from_a_warning(
    servers: TestServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environ = servers.environ() | {"BATCHWRIGHT_DATA_DIR": str(tmp_path / "data")}
    environ |= {"OPENAI_API_KEY": "", "ANTHROPIC_API_KEY": "", "GEMINI_API_KEY": "", "OLLAMA_HOST": ""}
    fine = CliRunner().invoke(app, ["doctor", "--json"], env=environ)
    broken = environ | {"BATCHWRIGHT_CACHE_REDIS_URL": f"redis://:{KEY}@{NOBODY}/0"}
    bad = CliRunner().invoke(app, ["doctor"], env=broken)
    data = json.loads(fine.stdout)
    assert (fine.exit_code, data["ok"]) == (0, True)
    assert all(set(each) == {"name", "state", "text", "fix", "data"} for each in data["findings"])
    states = {each["name"]: each["state"] for each in data["findings"]}
    assert (states["providers"], states["mongodb"]) == ("warning", "ok")
    assert bad.exit_code == 1 and KEY not in bad.output
    assert f"redis://{NOBODY} does not answer" in bad.output
