"""HTTP towards token endpoints and targets: one request, one answer, and no exception that holds a request.

The exceptions of HTTP clients keep the request, and with it a password or a token. Here they end: each is
turned into what is known afterwards, and what is raised or returned is made after its ``except`` block.
"""

import asyncio
import functools
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import anyio
import httpx2

from passferry.domain.answers import Answer

MAX_ANSWER = 8 * 1024 * 1024
"""Bytes of an answer that are read at most; a page of 25 users is far below."""

MAX_CONNECTIONS = 100
"""Of one client; above the requests that delivery makes at a time, so that none waits for another's end."""
KEPT_OPEN = 32
"""Idle connections of one client. A target's limits leave work for few, and there may be a thousand orgs."""

_NOT_CONNECTED = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
    httpx2.InvalidURL,
)


@functools.cache
def trust() -> ssl.SSLContext:
    """What TLS certificates are verified against, made once: reading the authorities takes 50 ms, 1 MiB."""
    return httpx2.create_ssl_context(trust_env=False)


def load() -> None:
    """Load what the client would load within its first request, while many may wait for the event loop.

    Call it in the event loop, before anybody does.
    """
    anyio.Event()


def http_client(
    transport: httpx2.AsyncBaseTransport | None = None, proxy: str | None = None
) -> httpx2.AsyncClient:
    """A client that does what it is told and nothing else.

    TLS is verified; no redirect is followed, nothing is repeated, no cookie is kept, and no environment
    variable or file changes where requests go. ``proxy`` is a URL, ``transport`` replaces the network.
    """
    client = httpx2.AsyncClient(
        transport=transport,
        proxy=proxy,
        verify=trust() if transport is None else True,
        trust_env=False,
        follow_redirects=False,
        timeout=httpx2.Timeout(10.0),
        limits=httpx2.Limits(
            max_connections=MAX_CONNECTIONS, max_keepalive_connections=KEPT_OPEN, keepalive_expiry=20.0
        ),
        headers={"User-Agent": "passferry", "Accept-Encoding": "identity"},
    )
    client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return client


@dataclass(frozen=True, slots=True)
class Lost:
    """No answer. ``sent`` is False only when it is certain that nothing of the request left this machine."""

    sent: bool


@dataclass(slots=True)
class _Progress:
    """What the transport reported of one request, where it reports at all."""

    connecting: bool = False
    sending: bool = False

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        if event.startswith("connection."):
            self.connecting = True
        elif ".send_request" in event:
            self.sending = True


async def exchange(
    client: httpx2.AsyncClient,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    content: bytes | None = None,
    limit: float,
) -> Answer | Lost:
    """Send one request once and read its answer, all within ``limit`` seconds.

    Raises nothing but ``asyncio.CancelledError``, whose ``__context__`` is empty.
    """
    progress = _Progress()
    try:
        async with asyncio.timeout(limit):
            return await _exchange(client, method, url, dict(headers), content, limit, progress)
    except _NOT_CONNECTED:
        sent = False
    except TimeoutError:
        sent = progress.sending or not progress.connecting
    except asyncio.CancelledError as error:
        error.__context__ = None
        raise
    except Exception:  # noqa: BLE001  # whatever it is, it holds the request: nothing of it may go on
        sent = True
    return Lost(sent)


async def _exchange(
    client: httpx2.AsyncClient,
    method: str,
    url: str,
    headers: dict[str, str],
    content: bytes | None,
    limit: float,
    progress: _Progress,
) -> Answer:
    # Waiting for a connection and making one share the limit, so that failing there is told from silence.
    loop = asyncio.get_running_loop()
    started = loop.time()
    timeout = httpx2.Timeout(limit, connect=limit / 2, pool=limit / 2)
    async with client.stream(
        method, url, headers=headers, content=content, timeout=timeout, extensions={"trace": progress}
    ) as response:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MAX_ANSWER:
                return Answer(response.status_code, _lower(response.headers), None)
        took = loop.time() - started
        return Answer(response.status_code, _lower(response.headers), bytes(body), took)


def _lower(headers: httpx2.Headers) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
