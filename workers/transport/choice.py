"""Which HTTP client a process uses for providers. Both keep the same promises; docs/decisions says why this one.

`auto` takes pyreqwest where a version is installed that passed the conformance suite, else httpx.
"""

from __future__ import annotations

import ssl
from importlib import metadata
from pathlib import Path
from typing import Literal

from config.errors import SettingsError
from config.provider import Provider
from config.tree import Http
from workers.transport.httpx_transport import HttpxTransport
from workers.transport.port import Transport, TransportRules

Wanted = Literal["auto", "httpx", "pyreqwest"]

# Before 1.0 a minor version may change what it promises.
_PASSED = ("0.15.",)


def transport_for(base_url: str, rules: TransportRules, wanted: Wanted) -> Transport:
    """Connections to `base_url`.

    Raises: SettingsError if pyreqwest is wanted and cannot be had, or `rules.ca_file` holds no authorities.
    """
    if rules.ca_file is not None:
        _check_authorities(rules.ca_file)
    if transport_name(wanted) == "httpx":
        return HttpxTransport(base_url, rules)
    # Only now: the plain install does not have it.
    from workers.transport.pyreqwest_transport import PyreqwestTransport

    return PyreqwestTransport(base_url, rules)


def rules_for(http: Http, provider: Provider) -> TransportRules:
    """How connections to this provider are made, by the settings."""
    timeouts = provider.timeouts
    return TransportRules(
        connect_s=timeouts.connect_s,
        write_s=timeouts.write_s,
        pool_s=timeouts.pool_s,
        keepalive_s=http.keepalive_s,
        max_connections=http.max_connections,
        streams_per_connection=http.streams_per_connection,
        prior_knowledge=provider.kind == "sim",
        ca_file=http.ca_file,
    )


def transport_name(wanted: Wanted) -> Literal["httpx", "pyreqwest"]:
    """`httpx` or `pyreqwest`. Raises: SettingsError if pyreqwest is wanted and cannot be had."""
    if wanted == "httpx":
        return "httpx"
    version = _installed_version()
    if version is not None and version.startswith(_PASSED):
        return "pyreqwest"
    if wanted == "auto":
        return "httpx"
    found = "pyreqwest, which is not installed" if version is None else f"pyreqwest {version}"
    known = " or ".join(f"{start}x" for start in _PASSED)
    way_out = f"auto, httpx, or pyreqwest {known} installed (pip install 'batchwright[fast]')"
    raise SettingsError("http.transport", "the settings", way_out, found)


def _check_authorities(path: Path) -> None:
    # pyreqwest takes a file without a certificate for an empty list, and then trusts nobody new.
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as error:
        wanted = "a readable PEM file of certificate authorities"
        raise SettingsError("http.ca_file", "the settings", wanted, str(path)) from error


def _installed_version() -> str | None:
    try:
        return metadata.version("pyreqwest")
    except metadata.PackageNotFoundError:
        return None
