"""FAULTS.md, Bad input: for each entry a clear error that names line, field and what was expected; nothing lost.

What is proved elsewhere is not proved again; the names stand here so that the list can be read in one place.

- not JSON; wrong shape; duplicate custom_id; one 2 MB line; NUL bytes, lone surrogates; depth 10,000; unknown model;
  unknown endpoint: support/bad_lines.py, planned alone and through the API. Each field of a line:
  unit/core/test_lines.py; of a create: test_what_breaks_the_sdk.py; before it is sent: unit/cli/test_preflight.py
- 50,001 lines, a 201 MB file: the defaults and too many lines. A file over its limit, refused before its first byte or
  at the first too many: test_files.py; before it is sent: unit/cli/test_preflight.py
- a gzip bomb: as file, as Content-Encoding, on the command line. As an answer: chaos/test_nonsense.py
- images, audio: support/bad_lines.py. All that is looked at, transcriptions too: unit/core/test_media.py; a sound that
  cannot be sent is its item's own error: unit/providers/test_openai.py, test_gemini_endpoints.py
- an API key: revoked. Absent and wrong: test_files.py; another tenant's: test_what_breaks_the_sdk.py
- a webhook URL: this version has no webhooks; the tests of their addresses come with them
- header injection: names, ids, keys, metadata, models. Fields of a provider's form: unit/providers/test_openai_audio.py
- ANSI codes: all verbs that show the words of others. Progress, logs: unit/cli/test_report.py, unit/test_telemetry.py
"""

from __future__ import annotations

import gzip
import io
import json
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from app.api import auth
from app.cli.main import app
from app.client.connection import upload_parts
from config.errors import SettingsError
from config.settings import Settings, load_settings
from tests.support.api import MAX_FILE_BYTES, Api
from tests.support.bad_lines import BAD_LINES, CHAT, GOOD, line
from workers.core.chooser import Chooser
from workers.core.identity import new_api_key
from workers.core.lines import custom_id_of
from workers.core.messages import Call, ItemError, LineProblem, Result
from workers.core.planner import Planner, PlanRules, ShardLimits
from workers.core.split import split_lines
from workers.planning import Planning
from workers.providers.registry import adapter_for, offers
from workers.store.api_keys import ApiKeys
from workers.store.stores import stores_of

pytestmark = pytest.mark.integration
EVIL = "a\r\nx-evil: 1\x00\x1b[31m\x9b31m\x1b]0;pwned\x07\u202e"
DRIVING = set(map(chr, (*range(10), *range(11, 32), *range(127, 160), 0x202E)))
SETTINGS = load_settings({"BATCHWRIGHT_SIMULATOR_URL": "http://127.0.0.1:9"})


class Looked:
    """What the planner made of a file: problems and planned lines."""

    def __init__(self, content: bytes) -> None:
        lines = list(split_lines([content], SETTINGS.batch.max_line_bytes))
        self.lines = [number for number, _, _ in lines]
        limits = ShardLimits(max_items=5, max_line_bytes=4 << 20, max_span_bytes=32 << 20)
        chooser = Chooser(offers(SETTINGS), SETTINGS.catalog)
        rules = PlanRules(
            endpoint=CHAT,
            choose=chooser.choose,
            limits_of=lambda _: limits,
            custom_id_at=lambda at: custom_id_of(content[at:].partition(b"\n")[0]),
            max_line_bytes=SETTINGS.batch.max_line_bytes,
        )
        planner = Planner(rules)
        fed = [planner.feed(raw, number, offset) for number, offset, raw in lines]
        shards = [shard for closed, _ in fed for shard in closed] + planner.finish()
        self.planned = [item.line for shard in shards for item in shard.items]
        self.problems: list[LineProblem] = [problem for _, problem in fed if problem]


@pytest.mark.parametrize("entry", BAD_LINES)
def test_a_bad_line_is_refused_with_its_line_its_field_and_what_was_expected(entry: str) -> None:
    raw, code, field, said = BAD_LINES[entry]
    looked = Looked(GOOD + b"\n\n" + raw + b"\n" + line("last"))
    (problem,) = looked.problems
    assert (problem.code, problem.param, problem.line) == (code, field, 3)
    assert said in problem.message
    assert looked.planned == [1, 4]


JUNK = st.binary(max_size=40) | st.sampled_from([raw for raw, *_ in BAD_LINES.values() if len(raw) < 2000])
FILES = st.lists(
    st.one_of(
        JUNK, st.just(GOOD), st.builds(lambda at, raw: GOOD[:at] + raw + GOOD[at:], st.integers(0, 200), JUNK)
    ),
    max_size=12,
).map(b"\n".join)


@given(FILES | st.binary(max_size=200))
def test_of_any_bytes_every_line_is_planned_or_named_and_nothing_falls_over(content: bytes) -> None:
    looked = Looked(content)
    refused = [problem.line for problem in looked.problems if problem.line]
    assert sorted([*looked.planned, *refused]) == looked.lines
    assert all(problem.code and problem.message for problem in looked.problems)


# What the API of the tests takes in.
SHORT = {entry: case for entry, case in BAD_LINES.items() if len(case[0]) < 1_000_000}


def planned(api: Api, batch_id: str, settings: Settings = SETTINGS) -> Any:
    """Plan a batch as a worker does; gives the batch as the SDK shows it."""
    Planning(
        stores_of(api.work.db),
        "planner",
        60.0,
        Chooser(offers(settings), settings.catalog).choose,
        lambda _: True,
        lambda _: ShardLimits(500, 4 << 20, 32 << 20),
        max_requests=settings.api.max_requests,
        max_line_bytes=settings.batch.max_line_bytes,
    ).plan(batch_id)
    return api.sdk.batches.retrieve(batch_id)


def uploaded(api: Api, *lines: bytes) -> str:
    return api.sdk.files.create(file=("in.jsonl", b"\n".join(lines)), purpose="batch").id


def test_a_file_with_every_bad_line_fails_its_batch_by_name_and_is_kept(api: Api) -> None:
    lines = [GOOD, *(raw for raw, *_ in SHORT.values())]
    file_id = uploaded(api, *lines)
    batch = planned(api, api.batch(input_file_id=file_id))
    assert batch.status == "failed"
    told = [(row.line, row.code, row.param) for row in batch.errors.data]
    assert told == [(at, code, field) for at, (_, code, field, _) in enumerate(SHORT.values(), start=2)]
    assert api.sdk.files.content(file_id).content == b"\n".join(lines)
    assert api.work.db["batch_shards"].count_documents({"batch_id": batch.id}) == 0


def test_where_bad_lines_are_skipped_they_stand_in_the_error_file_and_the_others_go_on(api: Api) -> None:
    file_id = uploaded(api, GOOD, *(raw for raw, *_ in SHORT.values()))
    batch = planned(
        api, api.batch(input_file_id=file_id, extra_body={"batchwright": {"invalid_lines": "skip"}})
    )
    assert batch.status == "in_progress"
    rows = [json.loads(raw) for _, raw in api.work.results.lines(batch.id, ok=False)]
    assert [row["error"]["code"] for row in rows] == [code for _, code, _, _ in SHORT.values()]
    assert batch.request_counts.total == len(SHORT) + 1


def test_more_lines_than_the_limit_fail_the_batch_with_the_limit_and_the_setting(api: Api) -> None:
    few = load_settings(
        {"BATCHWRIGHT_SIMULATOR_URL": "http://127.0.0.1:9", "BATCHWRIGHT_API_MAX_REQUESTS": "3"}
    )
    batch = planned(api, api.batch(input_file_id=api.input_file(4)), few)
    (row,) = batch.errors.data
    assert (batch.status, row.code, row.line) == ("failed", "too_many_requests_in_file", 4)
    assert "api.max_requests" in row.message


def test_without_a_setting_the_limits_are_those_of_the_batch_api() -> None:
    assert (SETTINGS.api.max_requests, SETTINGS.api.max_file_bytes) == (50_000, 200_000_000)


def packed_form(name: str, content: bytes) -> bytes:
    head = f'Content-Disposition: form-data; name="file"; filename="{name}"'
    purpose = '--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    return f"{purpose}--b\r\n{head}\r\n\r\n".encode() + content + b"\r\n--b--\r\n"


def test_a_bomb_is_unfolded_to_the_limit_of_a_file_and_leaves_nothing(api: Api) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    named = api.call("POST", "/v1/files", data={"purpose": "batch"}, files={"file": ("bomb.jsonl.gz", bomb)})
    encoded = api.call(
        "POST",
        "/v1/files",
        content=gzip.compress(packed_form("bomb.jsonl", bytes(50_000_000))),
        headers={"content-encoding": "gzip", "content-type": "multipart/form-data; boundary=b"},
    )
    for reply in (named, encoded):
        error = reply.json()["error"]
        assert (reply.status_code, error["code"]) == (413, "file_too_large")
        assert f"{MAX_FILE_BYTES:,} bytes" in error["message"]
    # By name: what other tests have left may be swept meanwhile.
    assert api.work.db["files"].count_documents({"filename": {"$regex": "bomb"}}) == 0


@pytest.mark.parametrize("cut", [1, 10])
def test_a_packed_file_that_is_none_or_ends_too_early_is_told_so(api: Api, cut: int) -> None:
    packed = gzip.compress(b'{"a": 1}\n' * 1000)
    replies = [
        api.call("POST", "/v1/files", data={"purpose": "batch"}, files={"file": ("a.jsonl.gz", content)})
        for content in (packed[:-cut], b'{"a": 1}', b"")
    ]
    for reply in replies[:2]:
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_gzip")
    assert replies[2].json()["error"]["code"] == "empty_file"


def test_a_file_that_hides_its_packing_and_other_packings_are_refused_with_the_way_out(api: Api) -> None:
    packed = gzip.compress(b"{}\n")
    made = api.call("POST", "/v1/files", data={"purpose": "batch"}, files={"file": ("a.jsonl", packed)})
    assert made.json()["error"]["code"] == "invalid_json_line"
    assert "name it NAME.jsonl.gz" in made.json()["error"]["message"]
    for path, encoding in (("/v1/files", "br"), ("/v1/batches", "gzip")):
        reply = api.call("POST", path, content=packed, headers={"content-encoding": encoding})
        assert (reply.status_code, reply.json()["error"]["param"]) == (415, "content-encoding")


def test_a_packed_file_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    (tmp_path / "bomb.jsonl").write_bytes(gzip.compress(bytes(5_000_000)))
    said = shown("estimate", str(tmp_path / "bomb.jsonl"))
    assert ":1: not JSON, but packed with gzip; unpack the file first" in said


async def test_a_revoked_key_is_as_good_as_none(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    keys, (unused, used) = ApiKeys(api.work.db), (new_api_key(), new_api_key())
    for key in (unused, used):
        keys.add("default", key, name="to be revoked")

    async def run(ask: Callable[..., Any], *arguments: Any) -> Any:
        return ask(*arguments)

    known = auth.KeyCache(cast("Any", SimpleNamespace(run=run, api_keys=keys, given_keys=set())))
    assert (found := await known.find(used)) is not None and not found.revoked
    api.work.db["api_keys"].update_many({"name": "to be revoked"}, {"$set": {"revoked_at": 1.0}})
    monkeypatch.setattr(auth, "KNOWN_FOR_S", 0.0)  # its five seconds are over
    assert (gone := await known.find(used)) is not None and gone.revoked
    reply = api.call("GET", "/v1/files", headers={"authorization": f"Bearer {unused}"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
    assert unused not in reply.text


def test_line_ends_in_names_and_keys_come_back_as_data_and_never_as_a_header(api: Api) -> None:
    evil = EVIL.replace("\x00", "")
    form = (
        b"--b\r\nContent-Disposition: form-data; name=file; "
        b'filename="a%0D%0Ax-evil: 1\x1b[31m\xc2\x9b.jsonl"\r\n\r\n' + GOOD + b"\r\n--b\r\n"
        b'Content-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b--\r\n'
    )
    headers = {"content-type": "multipart/form-data; boundary=b"}
    file = api.call("POST", "/v1/files", content=form, headers=headers).json()
    assert file["filename"] == "a%0D%0Ax-evil: 1[31m.jsonl"
    content = api.call("GET", f"/v1/files/{file['id']}/content")
    wanted = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h"}
    wanted |= {"metadata": {evil: evil, "$set": "a.b"}, "idempotency_key": evil + file["id"]}
    batch = api.call("POST", "/v1/batches", json=wanted)
    again = api.call("POST", "/v1/batches", json=wanted)
    shown_again = api.call("GET", f"/v1/batches/{batch.json()['id']}")
    assert again.json()["id"] == batch.json()["id"]
    assert shown_again.json()["metadata"] == {evil: evil, "$set": "a.b"}
    wrong_key = api.call("GET", "/v1/files", headers={"x-api-key": "bw_%0d%0ax-evil: 1", "authorization": ""})
    unknown = api.call("GET", "/v1/files/a%0d%0ax-evil:%201")
    for reply in (content, batch, shown_again, wrong_key, unknown):
        assert "x-evil" not in reply.headers and "\x1b" not in str(reply.headers)


@pytest.mark.parametrize("value", [b"Bearer a\rx-evil: 1", b"Bearer a\0b", b"Bearer \x1b[31m"])
def test_control_characters_in_a_header_are_refused_and_the_server_lives(api: Api, value: bytes) -> None:
    where = urlsplit(api.url)
    with socket.create_connection((str(where.hostname), int(where.port or 0)), timeout=10) as client:
        client.sendall(
            b"GET /v1/files HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: " + value + b"\r\n\r\n"
        )
        reply = client.makefile("rb").read()
    assert reply.split(b" ")[1] in (b"400", b"401")
    assert b"x-evil: 1\r\n" not in reply and b"\x1b" not in reply
    assert httpx.get(f"{api.url}/health").status_code == 200


def test_a_line_end_in_a_key_or_a_file_name_is_found_before_anything_is_sent() -> None:
    for name in ("BATCHWRIGHT_API_KEY", "OPENAI_API_KEY"):
        with pytest.raises(SettingsError, match="a key without blanks or line breaks") as refused:
            load_settings({name: "secret\r\nx-evil: 1"})
        assert name in str(refused.value) and "secret" not in str(refused.value)
    fields, files = upload_parts(io.BytesIO(GOOD), 'a"\r\nx-evil: 1\udcff.jsonl')
    sent = httpx.Request("POST", "http://api/v1/files", data=fields, files=files).read()
    assert b"\r\nx-evil" not in sent and b'filename="a%22%0D%0Ax-evil: 1?.jsonl"' in sent


def test_a_models_name_reaches_no_header_and_no_second_line_of_a_request() -> None:
    keys = {f"{kind}_API_KEY": "k" for kind in ("OPENAI", "ANTHROPIC", "GEMINI", "GROQ")}
    providers = load_settings({**keys, "OLLAMA_HOST": "127.0.0.1:9"}).providers
    assert {"openai", "anthropic", "gemini", "ollama"} <= {provider.kind for provider in providers}
    for provider in providers:
        body = {"model": EVIL, "messages": [{"role": "user", "content": EVIL}]}
        request = adapter_for(provider).build_request(Call(CHAT, EVIL, body), "k").request
        for text in (request.path, *request.headers, *request.headers.values()):
            assert text.isascii() and text.isprintable(), (provider.name, text)


def test_escape_codes_in_ids_models_messages_and_names_drive_no_terminal(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    batch_id = api.batch()
    error = json.dumps({"error": {"message": EVIL, "type": EVIL, "param": None, "code": EVIL}}).encode()
    api.work.complete(
        batch_id,
        [
            Result(line=1, custom_id=EVIL, source="call", status_code=400, body=error, calls=1, model=EVIL),
            Result(line=2, custom_id=EVIL, source="none", error=ItemError(EVIL, EVIL)),
        ],
    )
    api.work.db["batch_jobs"].update_one({"_id": batch_id}, {"$set": {"model": EVIL}})
    failed = planned(
        api, api.batch(input_file_id=uploaded(api, GOOD, line(EVIL, body={"model": EVIL, "messages": []})))
    )
    bad = tmp_path / f"{EVIL.replace(chr(0), '')}.jsonl"
    bad.write_bytes(line(EVIL) + b"\n" + line(EVIL) + b"\n" + line("x", body={"model": EVIL, "messages": []}))
    verbs = [(verb, batch_id) for verb in ("show", "items", "watch")] + [
        ("show", failed.id),
        ("watch", failed.id),
    ]
    verbs += [("ls",), ("show", EVIL.replace("\0", "")), ("estimate", str(bad))]
    for words in [*verbs, ("items", batch_id, "--json"), ("estimate", str(bad), "--json")]:
        said = shown(*words, api=api)
        assert "pwned" in said, words
        assert not set(said) & DRIVING, (words, said)


def shown(*words: str, api: Api | None = None) -> str:
    """What a verb prints, on both its streams."""
    env = {"BATCHWRIGHT_API_URL": api.url, "BATCHWRIGHT_API_KEY": api.key} if api else {}
    done = CliRunner().invoke(app, list(words), env=env)
    return done.stdout + done.stderr
