"""Tenants over HTTP: who makes, sees, settles and erases them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.api import Api
from workers.core.tenancy import TenantLimits, TenantRules
from workers.store.mongo import EPOCH
from workers.store.stores import stores_of
from workers.store.tenants import LINGERS_S, Tenants

pytestmark = pytest.mark.integration


def ask(
    api: Api, method: str, path: str, body: Any = None, *, key: str | None = None
) -> tuple[int, dict[str, Any]]:
    headers = {"authorization": f"Bearer {key or api.key}"}
    reply = api.call(method, f"/v1/{path}", headers=headers, **({} if body is None else {"json": body}))
    return reply.status_code, reply.json()


def made(api: Api, **settled: Any) -> str:
    name = f"t{secrets.token_hex(6)}"
    assert ask(api, "POST", "tenants", {"id": name, **settled})[0] == 200
    return name


def key_of(api: Api, tenant: str, *scopes: str) -> str:
    body = {"tenant": tenant, "name": "test", "scopes": list(scopes or ("read", "submit", "admin"))}
    status, reply = ask(api, "POST", "keys", body)
    assert status == 200, reply
    return str(reply["key"])


def test_what_is_settled_stands_where_those_who_enforce_it_read(api: Api) -> None:
    limits = {"requests_per_minute": 60, "max_storage_bytes": 10**12}
    name = made(api, weight=2, limits=limits, max_cost_usd_per_month=50, retention_days=7, display_name="Ann")
    tenants = Tenants(api.work.db)
    rules = TenantRules(2.0, TenantLimits(requests_per_minute=60, max_storage_bytes=10**12), 50, 7)
    assert tenants.rules_of(name) == tenants.rules()[name] == rules
    # a change names what changes; null takes a limit back
    change = {"limits": {"requests_per_minute": None, "max_concurrency": 4}, "max_cost_usd_per_month": None}
    status, seen = ask(api, "PATCH", f"tenants/{name}", change)
    assert (status, seen["display_name"], seen["weight"], seen["retention_days"]) == (200, "Ann", 2, 7)
    assert tenants.rules_of(name).limits == TenantLimits(max_concurrency=4, max_storage_bytes=10**12)
    assert tenants.rules_of(name).max_cost_usd_per_month is None
    assert ask(api, "PATCH", f"tenants/{name}", {"limits": None})[1]["limits"] == dict.fromkeys(limits | {
        "tokens_per_minute": 0, "max_concurrency": 0, "max_queued_items": 0,
    })  # fmt: skip
    assert ask(api, "GET", f"tenants/{name}")[1]["weight"] == 2


def test_a_tenant_is_made_once_under_a_name_that_fits_a_url(api: Api) -> None:
    name = made(api)
    status, refused = ask(api, "POST", "tenants", {"id": name})
    assert (status, refused["error"]["code"]) == (409, "tenant_exists")
    for bad in ("", "a/b", "A", "-a", "a" * 65, "a\n"):
        status, refused = ask(api, "POST", "tenants", {"id": bad})
        assert (status, refused["error"]["param"]) == (400, "id")
    for body, param in (
        ({"limits": {"requests_per_minutes": 1}}, "limits.requests_per_minutes"),
        ({"limits": {"max_concurrency": 0}}, "limits.max_concurrency"),
        ({"weight": 0}, "weight"),
    ):
        status, refused = ask(api, "PATCH", f"tenants/{name}", body)
        assert (status, refused["error"]["param"]) == (400, param)


def test_another_tenant_is_the_same_404_as_none(api: Api) -> None:
    mine = key_of(api, made(api))
    theirs, nobody = made(api), "t-nobody"
    for method, body in (("GET", None), ("PATCH", {"weight": 9})):
        foreign = ask(api, method, f"tenants/{theirs}", body, key=mine)
        missing = ask(api, method, f"tenants/{nobody}", body, key=mine)
        assert foreign[0] == missing[0] == 404
        assert str(foreign[1]).replace(theirs, nobody) == str(missing[1])
    for name in (theirs, nobody, "default"):
        status, refused = ask(api, "DELETE", f"tenants/{name}", key=mine)
        assert (status, refused["error"]["code"]) == (403, "not_allowed")


def test_a_tenant_sees_itself_and_settles_nothing(api: Api) -> None:
    name = made(api)
    mine = key_of(api, name)
    assert [each["id"] for each in ask(api, "GET", "tenants", key=mine)[1]["data"]] == [name]
    assert ask(api, "GET", f"tenants/{name}", key=mine)[0] == 200
    status, refused = ask(api, "PATCH", f"tenants/{name}", {"weight": 9}, key=mine)
    assert (status, refused["error"]["code"]) == (403, "not_allowed")
    assert ask(api, "POST", "tenants", {"id": "mine"}, key=mine)[0] == 403
    # a key of the first tenant that only reads sees no more than its own either
    reading = key_of(api, "default", "read")
    assert [each["id"] for each in ask(api, "GET", "tenants", key=reading)[1]["data"]] == ["default"]
    assert ask(api, "GET", f"tenants/{name}", key=reading)[0] == 404


def test_the_list_of_tenants_goes_on_from_the_last_one(api: Api) -> None:
    names = sorted(made(api) for _ in range(3))
    before = names[0][:-1]
    first = ask(api, "GET", f"tenants?limit=2&after={before}")[1]
    rest = ask(api, "GET", f"tenants?after={first['last_id']}")[1]
    assert first["has_more"] and not rest["has_more"]
    assert set(names) <= {each["id"] for each in [*first["data"], *rest["data"]]}


def test_an_erased_tenant_is_gone_with_all_it_had_and_its_keys_end_first(api: Api) -> None:
    name = made(api)
    mine = key_of(api, name)
    file_id = api.input_file(key=mine)
    batch = api.sdk_of(mine).batches.create(
        input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    status, reply = ask(api, "DELETE", f"tenants/{name}")
    assert (status, reply["gone"]) == (200, False)
    # its document stays for a while, in case something under way elsewhere brings forth more
    assert ask(api, "GET", f"tenants/{name}")[1]["erasing_since"] is not None
    for method, path, body in (
        ("POST", "keys", {"tenant": name}),
        ("PATCH", f"tenants/{name}", {"weight": 2}),
    ):
        status, refused = ask(api, method, path, body)
        assert (status, refused["error"]["code"]) == (409, "tenant_erasing")
    api.work.db["tenants"].update_one({"_id": name}, {"$set": {"erasing_since": EPOCH}})
    assert ask(api, "DELETE", f"tenants/{name}")[1]["gone"] is True
    assert ask(api, "DELETE", f"tenants/{name}")[0] == 404
    db = api.work.db
    for collection in db.list_collection_names():
        assert not [doc for doc in db[collection].find() if name in str(doc)], collection
    assert db["batch_jobs"].find_one({"_id": batch.id}) is None
    assert db["files.chunks"].count_documents({"files_id": file_id}) == 0


@pytest.mark.parametrize("reused", [False, True], ids=["free", "reused"])
def test_an_upload_that_outlasts_its_tenant_leaves_nothing_under_its_name(api: Api, reused: bool) -> None:
    name = made(api)
    mine = key_of(api, name)
    assert ask(api, "GET", "batches", key=mine)[0] == 200
    docs = api.work.db["tenants"]

    def slowly() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        # All of the tenant goes before the first byte of the file is stored,
        assert ask(api, "DELETE", f"tenants/{name}")[0] == 200
        docs.update_one({"_id": name}, {"$set": {"erasing_since": EPOCH}})
        assert ask(api, "DELETE", f"tenants/{name}")[0] in (200, 404)
        if reused:  # and a minute later its name is somebody else's.
            assert ask(api, "POST", "tenants", {"id": name})[0] == 200
            docs.update_one({"_id": name}, {"$set": {"created_at": time.time() + LINGERS_S}})
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{}\r\n--b--\r\n'

    headers = {"content-type": "multipart/form-data; boundary=b", "authorization": f"Bearer {mine}"}
    reply = api.call("POST", "/v1/files", content=slowly(), headers=headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "tenant_erasing")
    assert api.work.db["files"].find_one({"tenant": name}) is None


def test_the_keys_of_a_tenant_end_with_the_mark(api: Api) -> None:
    keys, name = stores_of(api.work.db).api_keys, made(api)
    mine = key_of(api, name)
    assert keys.find(mine) is not None
    Tenants(api.work.db).begin_erasing(name)
    assert keys.find(mine) is None


def test_the_first_tenant_stays(api: Api) -> None:
    status, refused = ask(api, "DELETE", "tenants/default")
    assert (status, refused["error"]["code"]) == (409, "tenant_needed")
    assert not Tenants(api.work.db).begin_erasing("default")
    assert ask(api, "GET", "tenants/default")[1]["erasing_since"] is None
