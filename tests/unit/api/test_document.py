"""The OpenAPI document: every route is in it as a whole, and its schemas say what the door checks."""

from __future__ import annotations

import base64
import inspect
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import httpx
import jsonschema_rs
import pytest
from fastapi.routing import APIRoute
from hypothesis import given
from hypothesis import strategies as st

from app.api.application import PARTS, routed
from app.api.bodies import OwnWebhook
from app.api.document import document
from app.api.door import check
from app.api.errors import ApiError
from app.api.spec import BODIES
from tests.support.truth import Truth

Doc = dict[str, Any]
ROUTES = [
    route
    for part in PARTS
    for route in part.router.routes
    if isinstance(route, APIRoute) and route.include_in_schema
]
# A body with nothing but what must be there.
LEAST: dict[str, Doc] = {
    "CreateBatch": {"input_file_id": "f", "endpoint": "/v1/embeddings", "completion_window": "24h"},
    "CreateTenant": {"id": "a"},
    "CreateSchedule": {
        "batch": {"input_file_id": "f", "endpoint": "/v1/embeddings", "completion_window": "24h"}
    },
    "CreateWebhook": {"url": "https://example.com/"},
    "CreateEndpoint": {"name": "n", "url": "https://example.com/", "event_types": ["batch.failed"]},
    "TestEndpoint": {"event_type": "batch.failed"},
    "Lookup": {"endpoint": "/v1/embeddings", "requests": []},
}


@cache
def whole() -> Doc:
    """The document; not made where these tests are only collected."""
    return document(routed())


def operations() -> dict[str, Doc]:
    """What each operation says, by its name."""
    return {each["operationId"]: each for path in whole()["paths"].values() for each in path.values()}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_every_route_says_what_it_is_what_it_takes_and_what_it_gives(route: APIRoute) -> None:
    operation = operations()[route.name]
    assert operation["summary"] and operation["description"] and operation["tags"]
    done = {status: reply for status, reply in operation["responses"].items() if status.startswith("2")}
    assert done
    for status, reply in done.items():
        assert status == "204" or reply["content"], f"{status} has no shape"
        assert all(media["schema"] for media in reply.get("content", {}).values())
    reads = re.search(r"\b(read_body|receive)\(", inspect.getsource(route.endpoint))
    assert bool(reads) == ("requestBody" in operation)
    if "{" in route.path and not route.path.startswith("/v1/providers"):
        assert "404" in operation["responses"]


def test_every_operation_has_a_name_of_its_own_and_a_tag_that_is_explained() -> None:
    assert len(operations()) == len(ROUTES)
    tags = {tag["name"] for tag in whole()["tags"]}
    assert {tag for operation in operations().values() for tag in operation["tags"]} == tags


def test_every_schema_is_one_and_every_reference_leads_somewhere() -> None:
    """OpenAPI 3.1: schemas are JSON Schema, draft 2020-12."""
    assert whole()["openapi"].startswith("3.1")
    for schema in whole()["components"]["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
    for reference in _references(whole()):
        kind, name = reference.removeprefix("#/components/").split("/")
        assert name in whole()["components"][kind]


def test_the_parameters_of_a_path_are_those_in_its_name() -> None:
    for path, operations in whole()["paths"].items():
        for operation in operations.values():
            named = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
            assert named == set(re.findall(r"\{(\w+)\}", path))


@pytest.mark.parametrize("name", BODIES)
def test_null_stands_for_what_may_be_left_out_and_a_misspelt_name_is_refused_where_that_is_said(
    name: str,
) -> None:
    schema, least = whole()["components"]["schemas"][name], LEAST.get(name, {})
    is_valid = _validator(name).is_valid
    assert is_valid(least)
    for optional in schema["properties"].keys() - set(schema.get("required", ())):
        assert is_valid({**least, optional: None})
        check(BODIES[name], {**least, optional: None})
    for value in (None, 1):
        odd = {**least, "misspelt": value}
        assert is_valid(odd) == _passes(name, odd)


@given(st.from_regex(r"[0-9]{0,4}[hdm]?", fullmatch=True) | st.integers(0, 400).map("{}h".format) | st.text())
def test_the_document_knows_every_completion_window(text: str) -> None:
    body = {**LEAST["CreateBatch"], "completion_window": text}
    assert _validator("CreateBatch").is_valid(body) == _passes("CreateBatch", body)


@given(st.from_regex(r"[a-zA-Z0-9_-]{0,66}", fullmatch=True) | st.text())
def test_the_document_knows_every_name_of_a_tenant(text: str) -> None:
    assert _validator("CreateTenant").is_valid({"id": text}) == _passes("CreateTenant", {"id": text})


@given(
    st.binary(min_size=20, max_size=70).map(lambda drawn: "whsec_" + base64.b64encode(drawn).decode())
    | st.from_regex(r"whsec_[A-Za-z0-9+/=]{30,90}", fullmatch=True)
    | st.text()
)
def test_the_document_knows_every_signing_secret(text: str) -> None:
    body = {"url": "https://example.com/", "secret": text}
    assert _validator("OwnWebhook").is_valid(body) == _passes("OwnWebhook", body)


@given(
    st.dictionaries(
        st.text(max_size=3) | st.text(min_size=62, max_size=67), st.text(max_size=3) | st.none(), max_size=3
    )
    | st.integers(15, 18).map(lambda count: dict.fromkeys(map(str, range(count)), "v"))
)
def test_the_document_knows_the_limits_of_metadata(metadata: Doc) -> None:
    body = {**LEAST["CreateBatch"], "metadata": metadata}
    assert _validator("CreateBatch").is_valid(body) == _passes("CreateBatch", body)


@given(
    st.floats(allow_nan=False, allow_infinity=False) | st.integers(-3, 12) | st.integers(-3, 12).map(float)
)
def test_a_number_without_a_fraction_is_an_integer_however_it_is_written(value: float) -> None:
    body = {**LEAST["CreateBatch"], "batchwright": {"priority": value}}
    assert _validator("CreateBatch").is_valid(body) == _passes("CreateBatch", body)


GONE = {"id": "file-1", "object": "file", "deleted": True}
REFUSED = {"error": {"message": "m", "type": "t", "param": None, "code": None}}


@pytest.mark.parametrize(
    ("status", "content", "headers"),
    [
        (200, {**GONE, "more": 1}, {}),
        (200, {"id": "file-1"}, {}),
        (404, {"detail": "Not Found"}, {}),
        (418, REFUSED, {}),
        (200, GONE, {"content-type": "text/plain"}),
        (200, GONE, {"x-request-id": None}),
    ],
)
def test_a_reply_that_the_document_does_not_know_is_found_out(
    status: int, content: Doc, headers: Doc
) -> None:
    truth = Truth(whole())
    truth.check(_reply(200, GONE, {}))
    truth.check(_reply(404, REFUSED, {}))
    with pytest.raises(AssertionError, match="does not know this reply"):
        truth.check(_reply(status, content, headers))


def _reply(status: int, content: Doc, changed: Doc) -> httpx.Response:
    headers = {"content-type": "application/json", "x-request-id": "req_1", **changed}
    sent = {name: value for name, value in headers.items() if value is not None}
    request = httpx.Request("DELETE", "http://localhost/v1/files/file-1")
    return httpx.Response(status, content=json.dumps(content), headers=sent, request=request)


@cache
def _validator(name: str) -> jsonschema_rs.Validator:
    schema = {"$ref": f"#/components/schemas/{name}", "components": whole()["components"]}
    return jsonschema_rs.validator_for(schema)


def _passes(name: str, body: Doc) -> bool:
    try:
        check({"OwnWebhook": OwnWebhook}.get(name) or BODIES[name], body)
    except ApiError:
        return False
    return True


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from _references(each)
