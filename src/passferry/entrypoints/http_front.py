"""Where a request comes from: whether it may be answered over plain HTTP, and whose address is logged."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Protocol

from starlette.types import Scope

from passferry.entrypoints.http_parse import Problem, is_loopback

Address = IPv4Address | IPv6Address

_WITH_PORT = re.compile(r"(\d+\.\d+\.\d+\.\d+):\d+|\[([0-9A-Fa-f:.]+)\](?::\d+)?")


class Asking(Protocol):
    """What is looked at of a request."""

    scope: Scope

    def header(self, name: bytes) -> list[bytes]:
        """All values of a header, ``name`` in lower case."""


@dataclass(frozen=True, slots=True)
class Front:
    """Who may speak plain HTTP: this machine, to a name of its own, and ``proxies`` that got it by TLS."""

    proxies: tuple[IPv4Network | IPv6Network, ...] = ()

    def refusal(self, request: Asking) -> Problem | None:
        """Why ``request`` is not answered; None when it may be.

        Host is checked on loopback because a page in a browser here, whose name was made to resolve to
        127.0.0.1, must not reach us. A proxy on this machine that is listed is a proxy, whatever Host it
        sends: many of them send 127.0.0.1.
        """
        hosts = request.header(b"host")
        if len(hosts) != 1:  # RFC 9112 section 3.2
            return Problem(400, "host.invalid", "there must be one Host header")
        if request.scope.get("scheme") == "https":
            return None
        peer = _peer(request.scope)
        if peer is not None and peer.is_loopback and not self._is_proxy(peer):
            return None if is_loopback(hosts[0]) else _not_this_machine()
        if peer is not None and self._is_proxy(peer) and _says_https(request.header(b"x-forwarded-proto")):
            return None
        return Problem(
            421,
            "https.required",
            "plain HTTP is for this machine and for listed proxies that got it by https",
        )

    def client(self, request: Asking) -> str | None:
        """The address of who asked: of X-Forwarded-For the last hop that is no proxy of ours."""
        found = _peer(request.scope)
        hops = b",".join(request.header(b"x-forwarded-for")).decode("latin-1").split(",")
        while hops and found is not None and self._is_proxy(found):
            hop = _address(hops.pop().strip())
            if hop is None:
                break
            found = hop
        return None if found is None else str(found)

    def _is_proxy(self, address: Address) -> bool:
        return any(address in network for network in self.proxies)


def _not_this_machine() -> Problem:
    return Problem(421, "host.not.allowed", "plain HTTP is served to localhost and loopback addresses only")


def _says_https(values: Sequence[bytes]) -> bool:
    # One word: "https, http" is what a proxy makes that adds to what a caller claimed.
    return len(values) == 1 and values[0].strip().lower() == b"https"


def _peer(scope: Scope) -> Address | None:
    client = scope.get("client")
    return _address(client[0]) if client else None


@lru_cache(maxsize=256)
def _address(text: str) -> Address | None:
    """An IP address, with or without a port; one of IPv4 as such, even where a socket of IPv6 shows it."""
    with_port = _WITH_PORT.fullmatch(text)
    try:
        found = ip_address((with_port[1] or with_port[2]) if with_port else text)
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found
