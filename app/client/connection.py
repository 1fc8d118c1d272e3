"""What both clients tell httpx: address, key, patience, and the parts of an upload."""

from __future__ import annotations

import ipaddress
import os
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import httpx

from app.client.locate import Place

CHUNK_BYTES = 1 << 20
_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
# A server that stores 200 MB with a majority write may be silent for a while after the last byte.
UPLOAD_TIMEOUT = httpx.Timeout(120.0, connect=5.0)
# A stream of events that is alive says something every 15 s.
EVENTS_TIMEOUT = httpx.Timeout(45.0, connect=5.0)


def options(place: Place) -> dict[str, Any]:
    """Arguments for httpx.Client and httpx.AsyncClient alike."""
    headers = {"user-agent": "batchwright"}
    if place.key:
        headers["authorization"] = f"Bearer {place.key}"
    return {
        "base_url": place.url,
        "headers": headers,
        "timeout": _TIMEOUT,
        # HTTPS_PROXY and the like are for servers out there; a proxy cannot reach our own loopback.
        "trust_env": not is_loopback(urlsplit(place.url).hostname or ""),
    }


def is_loopback(host: str) -> bool:
    """Whether a host name means this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def upload_parts(source: BinaryIO, filename: str | None) -> tuple[dict[str, str], dict[str, Any]]:
    """The form fields and the file part of POST /v1/files; httpx reads the file as it sends."""
    name = os.path.basename(filename or str(getattr(source, "name", "")) or "requests.jsonl")  # noqa: PTH119
    # The Files API takes batches by their ending; what is in the file decides, not what it is called.
    if not name.endswith(".jsonl"):
        name += ".jsonl"
    # A file system's name may be bytes that are no UTF-8; a form's may not.
    name = name.encode("utf-8", "replace").decode()
    return {"purpose": "batch"}, {"file": (name, source, "application/octet-stream")}
