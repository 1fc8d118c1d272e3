"""The way to a provider, without a request: TCP, TLS, and the protocol its server chooses (ALPN, RFC 7301)."""

from __future__ import annotations

import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from workers.transport.proxies import proxy_for

_PATIENCE_S = 2.0
_NETWORK = "start it, or see to network, firewall and its base_url"
_PORTS = {"http": 80, "https": 443}
_ALPN_NAMES = {"h2": "HTTP/2", "http/1.1": "HTTP/1.1", None: "HTTP/1.1"}


@dataclass(frozen=True, slots=True)
class Wire:
    """A connection that was made and closed.

    Attributes:
        connect_ms: of the TCP handshake, which is one round trip.
        tls: the version, or None without TLS.
        protocol: None behind a proxy, which is not asked.
        trouble, fix: why there is no connection, and what to do; empty where there is one.
    """

    connect_ms: float | None = None
    tls: str | None = None
    tls_ms: float | None = None
    protocol: str | None = None
    proxied: bool = False
    trouble: str = ""
    fix: str = ""


def try_wire(base_url: str, *, ca_file: Path | None = None, prior_knowledge: bool = False) -> Wire:
    """Connect to a server as the workers would."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if proxy_for(base_url) is not None:
        return Wire(proxied=True)
    began = time.perf_counter()
    try:
        sock = socket.create_connection((host, parts.port or _PORTS.get(parts.scheme, 80)), _PATIENCE_S)
    except socket.gaierror:
        return Wire(trouble=f"the name {host} is not known", fix="correct its base_url, or see to the DNS")
    except (OSError, ValueError) as error:
        why = "no answer" if isinstance(error, TimeoutError) else _words(error)
        return Wire(
            trouble=f"cannot connect to {parts.netloc.rpartition('@')[2]} ({why})",
            fix="start it, or see to network and firewall",
        )
    connect_ms = _ms_since(began)
    with sock:
        if parts.scheme != "https":
            return Wire(connect_ms=connect_ms, protocol="HTTP/2" if prior_knowledge else "HTTP/1.1")
        return _handshake(sock, host, connect_ms, ca_file)


def _handshake(sock: socket.socket, host: str, connect_ms: float, ca_file: Path | None) -> Wire:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:
            trouble = f"{ca_file} cannot be read as certificates ({_words(error)})"
            return Wire(connect_ms, trouble=trouble, fix="correct BATCHWRIGHT_HTTP_CA_FILE")
    began = time.perf_counter()
    try:
        with context.wrap_socket(sock, server_hostname=host) as tls:
            chosen = _ALPN_NAMES.get(tls.selected_alpn_protocol())
            return Wire(connect_ms, tls.version(), _ms_since(began), chosen)
    except ssl.SSLCertVerificationError as error:
        fix = "set BATCHWRIGHT_HTTP_CA_FILE to the authority that signed it, if you trust that one"
        return Wire(connect_ms, trouble=f"its certificate is not accepted ({error.verify_message})", fix=fix)
    except (OSError, ValueError) as error:
        return Wire(connect_ms, trouble=f"no TLS with {host} ({_words(error)})", fix=_NETWORK)


def _ms_since(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 2)


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer"
    return (getattr(error, "strerror", None) or type(error).__name__).lower()
