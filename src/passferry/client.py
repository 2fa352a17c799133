"""What every client of the gateway shares: the command line, and hooks on a source's machine.

``http.client`` starts faster than a full client, follows no redirect, and keeps no request, and so no
password, on its exceptions.
"""

import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. Header names are in lower case; ``body`` is {} when it was no JSON object."""

    status: int
    headers: Mapping[str, str]
    body: dict[str, Any] = field(default_factory=dict)


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine by its name or address."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def base_url(text: str) -> str | None:
    """``text`` without a trailing slash if it is https, or http on loopback; else None."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return None
    if not host or parts.username is not None or parts.query or parts.fragment:
        return None
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)):
        return text.rstrip("/")
    return None


def connection_to(url: str, seconds: float, ca_file: Path | None = None) -> http.client.HTTPConnection:
    """A connection, not made yet, to the host of ``url``, which ``base_url`` let through.

    Args:
        url: its path and query do not matter.
        seconds: for each of connecting, sending and reading.
        ca_file: PEM of the certificates to trust; None: those of the system.

    Raises:
        OSError: the file cannot be used.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, parts.port, timeout=seconds)
    context = ssl.create_default_context(cafile=ca_file)
    return http.client.HTTPSConnection(host, parts.port, timeout=seconds, context=context)


def read_reply(response: http.client.HTTPResponse, most: int) -> Reply:
    """The reply of at most ``most`` bytes; what comes after them is not read."""
    text = response.read(most)
    found = {name.lower(): value for name, value in response.getheaders()}
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = {}
    return Reply(response.status, found, body if isinstance(body, dict) else {})
