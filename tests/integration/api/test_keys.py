"""API keys over HTTP: scopes, expiry, rotation, revocation, and that a key is shown once and kept nowhere."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest
from bson import encode

from app.api import auth
from app.api.errors import ApiError
from app.api.first_start import fingerprint
from tests.support.api import Api
from tests.support.eventually import eventually
from tests.support.late import Late
from workers.core.api_keys import recognisable
from workers.store.api_keys import ApiKeys

if TYPE_CHECKING:
    import openai
else:
    openai = Late("openai")

pytestmark = pytest.mark.integration


def ask(
    api: Api, method: str, path: str, body: Any = None, *, key: str | None = None
) -> tuple[int, dict[str, Any]]:
    headers = {"authorization": f"Bearer {key or api.key}"}
    reply = api.call(method, f"/v1/{path}", headers=headers, **({} if body is None else {"json": body}))
    return reply.status_code, reply.json()


def made(api: Api, *, by: str | None = None, **wanted: Any) -> dict[str, Any]:
    status, reply = ask(api, "POST", "keys", {"name": "test", **wanted}, key=by)
    assert status == 200, reply
    return reply


def code_of(reply: tuple[int, dict[str, Any]]) -> tuple[int, str]:
    return reply[0], reply[1]["error"]["code"]


def test_a_key_may_do_what_its_scopes_say_and_a_refusal_names_the_missing_one(api: Api) -> None:
    reading, submitting = made(api, scopes=["read"])["key"], made(api, scopes=["submit"])["key"]
    assert ask(api, "GET", "batches", key=reading)[0] == 200
    batch = {"input_file_id": "file-none", "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    for (method, path, body), key, scope in (
        (("POST", "batches", batch), reading, "submit"),
        (("GET", "batches", None), submitting, "read"),
        (("POST", "keys", {}), submitting, "admin"),
        (("GET", "keys", None), reading, "admin"),
        (("POST", "tenants", {"id": "x"}), reading, "admin"),
    ):
        refused = ask(api, method, path, body, key=key)
        assert code_of(refused) == (403, "insufficient_scope")
        assert f"'{scope}'" in refused[1]["error"]["message"]
    with pytest.raises(openai.PermissionDeniedError):
        api.sdk_of(reading).files.delete("file-none")
    assert ask(api, "POST", "batches", batch, key=submitting)[0] == 200


def test_without_a_word_a_new_key_reads_and_submits_and_lasts(api: Api) -> None:
    fresh = made(api)
    assert (fresh["tenant"], fresh["scopes"], fresh["expires_at"]) == ("default", ["read", "submit"], None)
    assert (fresh["status"], fresh["prefix"]) == ("active", fresh["key"][:8])
    assert code_of(ask(api, "GET", "keys", key=fresh["key"])) == (403, "insufficient_scope")


def test_a_mistyped_a_wrong_a_revoked_and_an_expired_key_are_told_apart(api: Api) -> None:
    fresh, old = made(api), made(api, expires_in_s=60)
    key = fresh["key"]
    api.work.db["api_keys"].update_one({"id": old["id"]}, {"$set": {"expires_at": 1.0}})
    assert ask(api, "DELETE", f"keys/{fresh['id']}")[1]["status"] == "revoked"
    said = []
    for bad in (key[:-1] + ("A" if key[-1] != "A" else "B"), "sk-somebody-elses", key, old["key"]):
        refused = ask(api, "GET", "batches", key=bad)
        assert code_of(refused) == (401, "invalid_api_key")
        assert bad[3:] not in str(refused)
        said.append(refused[1]["error"]["message"])
    words = ("mistyped", "Incorrect", "revoked", "expired")
    assert [word for word, text in zip(words, said, strict=True) if word in text] == list(words)
    with pytest.raises(openai.AuthenticationError):
        api.sdk_of(key).batches.list()


def test_a_rotated_key_works_for_its_grace_and_the_new_one_at_once(api: Api) -> None:
    first = made(api, scopes=["read"], expires_in_s=3600)
    status, second = ask(api, "POST", f"keys/{first['id']}/rotate", {"grace_s": 600})
    assert (status, second["rotated_from"], second["scopes"]) == (200, first["id"], ["read"])
    assert second["expires_at"] == first["expires_at"] and second["key"] != first["key"]
    assert ask(api, "GET", "batches", key=first["key"])[0] == 200
    assert ask(api, "GET", "batches", key=second["key"])[0] == 200
    # it is on its way out: it is not rotated twice, and may go at once
    assert code_of(ask(api, "POST", f"keys/{first['id']}/rotate")) == (409, "key_not_active")
    assert ask(api, "DELETE", f"keys/{first['id']}")[1]["status"] == "revoked"
    third = ask(api, "POST", f"keys/{second['id']}/rotate")[1]
    keys = ApiKeys(api.work.db)
    ended, lives = keys.find(second["key"]), keys.find(third["key"])
    assert ended is not None and ended.revoked
    assert lives is not None and not lives.revoked
    assert ask(api, "POST", f"keys/{third['id']}/rotate", {"grace_s": 7 * 86_400 + 1})[0] == 400


def test_a_key_makes_none_that_outlives_it(api: Api) -> None:
    mine = made(api, scopes=["admin"], expires_in_s=3600)
    assert made(api, by=mine["key"])["expires_at"] == mine["expires_at"]
    longer = ask(api, "POST", "keys", {"expires_in_s": 7200}, key=mine["key"])
    assert code_of(longer) == (403, "not_allowed")
    lasting = made(api)
    assert code_of(ask(api, "POST", f"keys/{lasting['id']}/rotate", key=mine["key"])) == (403, "not_allowed")
    assert ask(api, "GET", "batches", key=lasting["key"])[0] == 200, "a refused rotation ends nothing"


def test_a_rotated_admin_key_makes_none_that_outlives_its_grace(api: Api) -> None:
    # given an admin key that somebody rotates because it leaked, with grace for those who still use it
    leaked = made(api, scopes=["admin"])
    assert ask(api, "POST", f"keys/{leaked['id']}/rotate", {"grace_s": 600})[0] == 200
    ends_at = ask(api, "GET", "keys")[1]["data"][1]["revoked_at"]
    assert ends_at is not None
    # then whoever has it stays no longer by it
    assert code_of(ask(api, "POST", "keys", {"expires_in_s": 7200}, key=leaked["key"])) == (
        403,
        "not_allowed",
    )
    assert made(api, by=leaked["key"], scopes=["admin"])["expires_at"] == ends_at
    assert code_of(ask(api, "POST", f"keys/{made(api)['id']}/rotate", key=leaked["key"])) == (
        403,
        "not_allowed",
    )


def test_another_tenants_key_is_the_same_404_as_none(api: Api) -> None:
    theirs, nobody = made(api)["id"], f"key_{'0' * 32}"
    mine = made(api, tenant="other", scopes=["admin"])
    for method, path in (("DELETE", "keys/{}"), ("POST", "keys/{}/rotate")):
        foreign, missing = (ask(api, method, path.format(one), key=mine["key"]) for one in (theirs, nobody))
        assert foreign == missing and foreign[0] == 404
    for method, path in (("GET", "keys?tenant={}"), ("POST", "keys")):
        foreign, missing = (
            ask(api, method, path.format(one), {"tenant": one} if method == "POST" else None, key=mine["key"])
            for one in ("default", "t-nobody")
        )
        assert foreign[0] == 404 and str(foreign).replace("default", "t-nobody") == str(missing)
    listed = ask(api, "GET", "keys?limit=1000", key=mine["key"])[1]["data"]
    assert {each["tenant"] for each in listed} == {"other"} and mine["id"] in [each["id"] for each in listed]
    # the operator handles them all
    assert ask(api, "DELETE", f"keys/{mine['id']}")[0] == 200
    assert {each["tenant"] for each in ask(api, "GET", "keys?tenant=other")[1]["data"]} == {"other"}


def test_the_list_goes_on_and_shows_no_key(api: Api) -> None:
    fresh = [made(api, name=f"n{number}") for number in range(3)]
    first = ask(api, "GET", "keys?limit=2")[1]
    second = ask(api, "GET", f"keys?limit=2&after={first['last_id']}")[1]
    seen = [each["id"] for each in [*first["data"], *second["data"]]]
    assert first["has_more"] and set(seen) >= {each["id"] for each in fresh} and len(set(seen)) == 4
    assert all("key" not in each for each in first["data"])
    assert not [each for each in fresh if each["key"] in str(first) + str(second)]


def test_the_last_lasting_admin_key_of_the_first_tenant_stays(api: Api) -> None:
    keys, fresh = ApiKeys(api.work.db), made(api, scopes=["admin"])
    assert keys.has_other_admin("default", fresh["id"])
    assert not keys.has_other_admin("t-nobody", fresh["id"])
    # given that all others are revoked, or will be
    others = {"tenant": "default", "id": {"$ne": fresh["id"]}, "revoked_at": None}
    docs = api.work.db["api_keys"]
    ids = [doc["_id"] for doc in docs.find(others)]
    docs.update_many({"_id": {"$in": ids}}, {"$set": {"revoked_at": 1e12}})
    try:
        refused = ask(api, "DELETE", f"keys/{fresh['id']}")
        assert code_of(refused) == (409, "last_admin_key")
    finally:
        docs.update_many({"_id": {"$in": ids}}, {"$set": {"revoked_at": None}})
    assert ask(api, "DELETE", f"keys/{fresh['id']}")[0] == 200


def test_the_use_of_a_key_is_written_down_beside_the_request_and_once_a_minute(api: Api) -> None:
    fresh = made(api)
    assert ask(api, "GET", "batches", key=fresh["key"])[0] == 200
    docs = api.work.db["api_keys"]
    assert eventually(lambda: docs.find_one({"id": fresh["id"]})["last_used_at"], 5.0)  # type: ignore[index]
    keys = ApiKeys(api.work.db)
    assert not keys.note_use(fresh["id"]), "it was just written"
    docs.update_one({"id": fresh["id"]}, {"$set": {"last_used_at": 1.0}})
    assert keys.note_use(fresh["id"])


async def test_a_key_that_the_installation_was_given_may_be_any_text(api: Api) -> None:
    keys, text = ApiKeys(api.work.db), f"bw_{secrets.token_hex(24)}x"
    assert len(text) == 52, "as long as a key with a checksum"
    keys.add("default", text, name="configured")

    async def run(call: Callable[..., Any], *arguments: Any) -> Any:
        return call(*arguments)

    given = SimpleNamespace(run=run, api_keys=keys, given_keys={fingerprint(text)})
    found = await auth.KeyCache(cast("Any", given)).find(text)
    assert found is not None and found.tenant == "default"
    given.given_keys.clear()
    with pytest.raises(ApiError, match="mistyped"):
        await auth.KeyCache(cast("Any", given)).find(text)


def test_a_key_appears_in_no_reply_but_its_first_in_no_log_and_nowhere_in_the_database(api: Api) -> None:
    # given keys that were used in every way, also where no key belongs
    first = made(api, scopes=["admin"])
    rotated = ask(api, "POST", f"keys/{first['id']}/rotate", {"grace_s": 60}, key=first["key"])[1]
    keys, later = (first["key"], rotated["key"]), list[httpx.Response]()
    for key in keys:
        mistyped = key[:20] + "_" + key[20:-1]
        for sent in (key, mistyped):
            headers = {"authorization": f"Bearer {sent}"}
            later.append(api.call("GET", "/v1/batches", headers=headers))
            later.append(api.call("GET", "/v1/keys", headers={"x-api-key": sent, "authorization": ""}))
            later.append(api.call("DELETE", f"/v1/keys/{sent}"))
            later.append(api.call("POST", f"/v1/keys/{sent}/rotate"))
        later.append(api.call("GET", "/v1/keys?limit=1000"))
    revoked = [api.call("DELETE", f"/v1/keys/{each['id']}") for each in (first, rotated)]
    later += [*revoked, *(api.call("GET", "/v1/batches", headers={"x-api-key": key}) for key in keys)]
    # then
    stored = b"".join(
        encode(doc) for name in api.work.db.list_collection_names() for doc in api.work.db[name].find()
    )
    logged = api.log_path.read_text()
    assert first["id"].encode() in stored and api.url in logged
    for key in keys:
        assert recognisable(key).encode() in stored, "enough to know it by"
        for part in (key, key[8:], key[:12]):
            assert part.encode() not in stored
            assert part not in logged
            assert not [reply for reply in later if part in reply.text + str(reply.headers)]
