"""Which proxy leads to a base URL, decided here once for both clients, which read the environment differently.

HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY in either case, as curl reads them: NO_PROXY holds host names (their
subdomains are meant, too), addresses, networks (10.0.0.0/8), each with a port if one is meant, or `*`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

_PORTS = {"http": 80, "https": 443}


def proxy_for(base_url: str, proxies: Mapping[str, str] | None = None) -> str | None:
    """The proxy's URL, or None for a direct connection.

    Args:
        proxies: by scheme, `all`, and `no` for the list of exceptions; None: the environment's.
    """
    known = getproxies_environment() if proxies is None else proxies
    parts = urlsplit(base_url)
    host = (parts.hostname or "").rstrip(".")
    proxy = known.get(parts.scheme) or known.get("all")
    if not proxy or _excepted(known.get("no", ""), host, parts.port or _PORTS.get(parts.scheme, 0)):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _excepted(no_proxy: str, host: str, port: int) -> bool:
    return any(
        _matches(one.strip().lower(), host.lower(), port) for one in no_proxy.split(",") if one.strip()
    )


def _matches(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    try:
        # A network, an address, or an address in brackets.
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass
    name, colon, wanted_port = entry.rpartition(":")
    if colon and wanted_port.isdigit():
        return int(wanted_port) == port and _matches(name, host, port)
    name = entry.removeprefix("*").lstrip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))
