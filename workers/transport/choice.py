"""Which HTTP client a process uses for providers. Both keep the same promises; docs/decisions says why this one.

`auto` takes pyreqwest where a version is installed that passed the conformance suite, else httpx.
"""

from __future__ import annotations

from importlib import metadata
from typing import Literal

from config.errors import SettingsError
from workers.transport.httpx_transport import HttpxTransport
from workers.transport.port import Transport, TransportRules

Wanted = Literal["auto", "httpx", "pyreqwest"]

# Before 1.0 a minor version may change what it promises.
_PASSED = ("0.15.",)


def transport_for(base_url: str, rules: TransportRules, wanted: Wanted) -> Transport:
    """Connections to `base_url`. Raises: SettingsError if pyreqwest is wanted and cannot be had."""
    if transport_name(wanted) == "httpx":
        return HttpxTransport(base_url, rules)
    # Only now: the plain install does not have it.
    from workers.transport.pyreqwest_transport import PyreqwestTransport

    return PyreqwestTransport(base_url, rules)


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


def _installed_version() -> str | None:
    try:
        return metadata.version("pyreqwest")
    except metadata.PackageNotFoundError:
        return None
