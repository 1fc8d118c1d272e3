"""One POST to where a stranger has said: to the very address that was judged, within a time, without redirects.

workers/notify.py sends webhooks by it, app/api/webhooks.py checks URLs by it. A name is looked up anew each time, and
the connection goes to what was found then (DNS rebinding finds nothing to turn round): httpcore asks a network backend
for its TCP connection, and the one here dials the judged addresses whatever name it is asked for. Host header, SNI and
the certificate's check go by the name. Proxies of the environment are not used; the setting `webhook.proxy` is: then
the proxy looks the name up, and has to refuse what is private.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import httpcore

from workers.core.addresses import Address, BadTarget, Rules, Target, target_of
from workers.core.webhooks import KEPT_ANSWER_BYTES, Answered, retry_after_s
from workers.transport.port import USER_AGENT

Lookup = Callable[[str, int], Awaitable[Sequence[Address]]]
LOOKUPS_AT_ONCE = 64
_CHECK_S = 3.0
# Of a name with many addresses, and of one that does not answer: the others get their turn within the time.
_MOST_ADDRESSES = 4
_DIAL_S = 5.0


class NoSuchName(BadTarget):
    """The name has no address, now; `for_good` where a name server has said so."""

    def __init__(self, *, for_good: bool) -> None:
        super().__init__("has a name that has no address")
        self.for_good = for_good


class Names:
    """The system's resolver, on threads of its own: one name server that is silent holds up nobody else.

    A silent one keeps its thread for longer than anybody waits for it.
    """

    def __init__(self, at_once: int = LOOKUPS_AT_ONCE) -> None:
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="names")
        self._lock, self.busy = threading.Lock(), 0

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        """All addresses of a name. Raises: NoSuchName."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._look_up, host, port)

    def close(self) -> None:
        """Look nothing up any more; a thread that still waits for an answer cannot be ended."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _look_up(self, host: str, port: int) -> Sequence[Address]:
        self._count(1)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise NoSuchName(for_good=error.errno != socket.EAI_AGAIN) from None
        except (OSError, UnicodeError):
            raise NoSuchName(for_good=False) from None
        finally:
            self._count(-1)
        return [ip_address(str(row[4][0]).partition("%")[0]) for row in found]

    def _count(self, change: int) -> None:
        with self._lock:
            self.busy += change


class Outward:
    """Check a URL, and post to it."""

    def __init__(
        self,
        rules: Rules,
        *,
        deadline_s: float,
        lookup: Lookup,
        check_lookup: Lookup | None = None,
        proxy: str | None = None,
        ca_file: Path | None = None,
    ) -> None:
        """Raises: OSError, ssl.SSLError if `ca_file` cannot be read.

        Args:
            deadline_s: for one post in all: lookup, connect, TLS, send, answer.
            check_lookup: for `check`, where its lookups must not take the room of those for `post`.
            proxy: of the setting; with user and password if it asks for them.
            ca_file: certificate authorities to trust besides the usual ones, PEM.
        """
        self.rules, self.deadline_s = rules, deadline_s
        self._lookup, self._check_lookup = lookup, check_lookup or lookup
        self._proxy = _proxy(proxy)
        # Read when it is first needed, which takes a while; a file that somebody has named, at once.
        self._trust = None if ca_file is None else _trust(ca_file)

    async def check(self, url: str) -> Target:
        """Take a URL that is being registered. A name server that is silent is no reason to refuse one.

        Raises: BadTarget.
        """
        target = target_of(url, self.rules)
        try:
            async with asyncio.timeout(_CHECK_S):
                await self._addresses(target, self._check_lookup)
        except TimeoutError:
            pass
        except NoSuchName as error:
            if error.for_good:
                raise
        return target

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answered:
        """Send it once; whatever goes wrong is in what is returned, in words that may be shown to its tenant."""
        began = time.monotonic()
        found: dict[str, Any] = {}
        try:
            async with asyncio.timeout(self.deadline_s):
                found = await self._post(target_of(url, self.rules), headers, body)
        except TimeoutError:
            found = {"error": f"no answer within {self.deadline_s:g} s"}
        except BadTarget as error:
            found = {"error": f"not sent: the URL {error}"}
        # httpcore lets the faults of TLS through that come to light behind the handshake.
        except (httpcore.NetworkError, httpcore.TimeoutException, OSError) as error:
            found = {"error": _words_of(error)}
        except (httpcore.ProtocolError, httpcore.ProxyError, httpcore.UnsupportedProtocol) as error:
            found = {"error": f"no HTTP answer ({type(error).__name__})"}
        return Answered(took_ms=round((time.monotonic() - began) * 1000), **found)

    async def _post(self, target: Target, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
        addresses = await self._addresses(target, self._lookup)
        sent = {
            "host": target.host_header,
            "user-agent": USER_AGENT,
            "accept": "*/*",
            "accept-encoding": "identity",
            "connection": "close",
            "content-type": "application/json",
            "content-length": str(len(body)),
            **headers,
        }
        if self._trust is None and target.scheme == "https":
            self._trust = _trust(None)
        request = httpcore.Request(
            "POST",
            httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path),
            headers=[(name.encode("ascii"), value.encode("ascii")) for name, value in sent.items()],
            content=body,
        )
        # A pool of one connection, used once: what was judged for this attempt serves no other.
        async with httpcore.AsyncConnectionPool(
            ssl_context=self._trust,
            max_connections=1,
            http1=True,
            http2=False,
            proxy=self._proxy,
            network_backend=None if self._proxy else Pinned(addresses),
        ) as connections:
            response = await connections.handle_async_request(request)
            try:
                answer = await _beginning(response)
            finally:
                await response.aclose()
        told = {name.lower(): value.decode("latin-1") for name, value in response.headers}
        return {
            "status": response.status,
            "answer": answer,
            "retry_after_s": retry_after_s(told.get(b"retry-after")),
        }

    async def _addresses(self, target: Target, lookup: Lookup) -> tuple[Address, ...]:
        literal = target.literal
        if literal is not None:
            return self.rules.choose([literal])
        if self._proxy is not None:
            return ()
        return self.rules.choose(await lookup(target.host, target.port))


class Pinned(httpcore.AsyncNetworkBackend):
    """Connects to these addresses, one after the other, whatever host is asked for."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._addresses, self._backend = addresses[:_MOST_ADDRESSES], httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface; the post has a deadline
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """See httpcore."""
        failed: Exception = httpcore.ConnectError("no address")
        for address in self._addresses:
            try:
                return await self._backend.connect_tcp(
                    str(address), port, _DIAL_S, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Never: a webhook leads to an address."""
        raise httpcore.ConnectError("no webhook is sent to a socket of this machine")

    async def sleep(self, seconds: float) -> None:
        """See httpcore."""
        await self._backend.sleep(seconds)


async def _beginning(response: httpcore.Response) -> bytes:
    kept = bytearray()
    async for part in response.aiter_stream():
        kept += part
        if len(kept) >= KEPT_ANSWER_BYTES:
            break
    return bytes(kept[:KEPT_ANSWER_BYTES])


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    """The authorities that calls to providers trust, too."""
    import httpx  # only whoever has an HTTPS receiver waits for it

    context = httpx.create_ssl_context(trust_env=False)
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


def _words_of(error: Exception) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"TLS: {cause.verify_message or 'the certificate is not trusted'}"
        if isinstance(cause, ssl.SSLError):
            return "TLS: no agreement"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpcore.ConnectTimeout):
        return "cannot connect: no answer"
    if isinstance(error, httpcore.ConnectError):
        return "cannot connect"
    return "the connection broke"


def _proxy(url: str | None) -> httpcore.Proxy | None:
    if url is None:
        return None
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    auth = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    place = httpcore.URL(scheme=parts.scheme, host=cast("str", parts.hostname), port=port, target="/")
    return httpcore.Proxy(place, auth=auth)
