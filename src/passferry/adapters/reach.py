"""Whether a host answers at all, and with a certificate that the HTTP client would trust."""

import asyncio
import os
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from passferry.adapters.http_client import trust


@dataclass(frozen=True, slots=True)
class Reached:
    """A connection was made. ``tls`` is its version, None for plain HTTP; ``expires`` is epoch seconds."""

    tls: str | None = None
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class NotReached:
    """No connection: why, and what to do. ``trust``: somebody answered whom we do not believe."""

    why: str
    remedy: str
    trust: bool = False


async def reach(url: str, limit: float, context: ssl.SSLContext | None = None) -> Reached | NotReached:
    """Connect to the host of ``url``, send nothing, and close.

    Args:
        url: http or https.
        limit: seconds for it all.
        context: what to trust; else the very certificates that ``http_client`` trusts.
    """
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    trusted = (context or trust()) if secure else None
    try:
        async with asyncio.timeout(limit):
            _, writer = await asyncio.open_connection(
                host, port, ssl=trusted, server_hostname=host if secure else None
            )
    except (OSError, ValueError, UnicodeError) as error:  # ssl.SSLError and TimeoutError are OSErrors
        return _not_reached(error, f"{host}:{port}")
    try:
        return _reached(writer.get_extra_info("ssl_object"))
    finally:
        writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(1.0):
                await writer.wait_closed()


def _reached(connection: ssl.SSLObject | None) -> Reached:
    if connection is None:
        return Reached()
    stated = (connection.getpeercert() or {}).get("notAfter")
    expires = float(ssl.cert_time_to_seconds(stated)) if isinstance(stated, str) and stated else None
    return Reached(connection.version() or "TLS", expires)


def _not_reached(error: Exception, place: str) -> NotReached:
    if isinstance(error, socket.gaierror):
        remedy = "check the region or host, and this machine's name server"
        return NotReached(f"the name of {place} is not known", remedy)
    if isinstance(error, ssl.SSLCertVerificationError):
        remedy = "a proxy that breaks TLS in between? Let it through; the certificate must be trusted"
        return NotReached(f"the certificate of {place} is not trusted: {error.verify_message}", remedy, True)
    if isinstance(error, ssl.SSLError):
        return NotReached(f"{place} does not speak TLS as it should", "check host and port", True)
    if isinstance(error, TimeoutError):
        remedy = "let this machine's firewall pass connections to it, then try again"
        return NotReached(f"{place} does not answer in time", remedy)
    number = error.errno if isinstance(error, OSError) else None
    why = os.strerror(number).lower() if number else "no connection"  # event loops word it each in their way
    return NotReached(f"{place} cannot be reached: {why}", "check host, port, routes and firewall")
