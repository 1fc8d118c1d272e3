"""The port over httpx with HTTP/2. The only module that imports httpx for provider traffic.

httpx has three habits that this module guards against (measured on 0.28): one read timeout fails every request
on its connection, a cancelled request is never reset on the wire, and after 100 cancelled ones the connection
takes no more. So: one long client-wide read timeout, a deadline per request around it, at most 50 streams a
client, and a client is retired (drained, replaced) after 20 cancelled requests or any local protocol error.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

import httpx

from workers.core.errors import BodyTooLarge, CallTimeout, TransportError
from workers.core.messages import HttpRequest, HttpResponse
from workers.transport.port import MAX_BODY_BYTES

STREAMS_PER_CLIENT = 50
RETIRE_AFTER_CANCELLED = 20
_KEEPALIVE_S = 60.0


@dataclass(slots=True, eq=False)
class _Lane:
    """One httpx client and what is known of its health."""

    client: httpx.AsyncClient
    in_flight: int = 0
    cancelled: int = 0
    retired: bool = False


class HttpxTransport:
    """Several httpx clients to one base URL, the least loaded one first."""

    def __init__(
        self,
        base_url: str,
        *,
        connect_s: float = 5.0,
        read_s: float = 600.0,
        write_s: float = 10.0,
        pool_s: float = 5.0,
        prior_knowledge: bool = False,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        """`prior_knowledge`: speak HTTP/2 without TLS at once (a server of ours); else ALPN decides."""
        self._base_url = base_url.rstrip("/")
        self._timeout = httpx.Timeout(connect=connect_s, read=read_s + 60.0, write=write_s, pool=pool_s)
        self._http1 = not prior_knowledge
        self._max_body_bytes = max_body_bytes
        self._lanes: list[_Lane] = []

    async def send(self, request: HttpRequest, *, deadline_s: float) -> HttpResponse:
        """See the port."""
        lane = self._pick()
        lane.in_flight += 1
        try:
            async with asyncio.timeout(deadline_s):
                return await self._exchange(lane.client, request)
        except TimeoutError as error:
            lane.cancelled += 1
            raise CallTimeout(f"no answer within {deadline_s:g} s", bytes_sent=True) from error
        except asyncio.CancelledError:
            lane.cancelled += 1
            raise
        except (
            httpx.ConnectError,
            httpx.ConnectTimeout,
            httpx.PoolTimeout,
            httpx.UnsupportedProtocol,
        ) as error:
            text = f"cannot connect to {self._base_url}: {_words(error)}"
            raise TransportError(text, bytes_sent=False) from error
        except httpx.LocalProtocolError as error:
            lane.retired = True
            raise TransportError(f"connection unusable: {_words(error)}", bytes_sent=True) from error
        except httpx.HTTPError as error:
            raise TransportError(f"connection broke: {_words(error)}", bytes_sent=True) from error
        finally:
            lane.in_flight -= 1
            await self._care_for(lane)

    async def close(self) -> None:
        """Close every client."""
        lanes, self._lanes = self._lanes, []
        for lane in lanes:
            await lane.client.aclose()

    def _pick(self) -> _Lane:
        lane = min(self._lanes, key=lambda one: one.in_flight, default=None)
        if lane is None or lane.in_flight >= STREAMS_PER_CLIENT:
            limits = httpx.Limits(
                max_connections=STREAMS_PER_CLIENT,
                max_keepalive_connections=STREAMS_PER_CLIENT,
                keepalive_expiry=_KEEPALIVE_S,
            )
            client = httpx.AsyncClient(http1=self._http1, http2=True, timeout=self._timeout, limits=limits)
            lane = _Lane(client)
            self._lanes.append(lane)
        return lane

    async def _exchange(self, client: httpx.AsyncClient, request: HttpRequest) -> HttpResponse:
        url = self._base_url + request.path
        headers = dict(request.headers)
        async with client.stream(request.method, url, headers=headers, content=request.body) as response:
            body = bytearray()
            async for part in response.aiter_bytes():
                body += part
                if len(body) > self._max_body_bytes:
                    raise BodyTooLarge(f"the answer passed {self._max_body_bytes} bytes", bytes_sent=True)
            names = {name.lower(): value for name, value in response.headers.items()}
            return HttpResponse(response.status_code, names, bytes(body))

    async def _care_for(self, lane: _Lane) -> None:
        lane.retired = lane.retired or lane.cancelled >= RETIRE_AFTER_CANCELLED
        if not lane.retired:
            return
        if lane in self._lanes:
            self._lanes.remove(lane)
        if lane.in_flight == 0:
            with contextlib.suppress(httpx.HTTPError, OSError):
                await lane.client.aclose()


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
