"""Who may speak plain HTTP, and whose address is logged."""

from ipaddress import ip_network

import pytest
from starlette.types import Scope

from passferry.entrypoints.http_front import Front

PROXIES = Front((ip_network("10.0.0.0/24"), ip_network("2001:db8::/64"), ip_network("127.0.0.2/32")))
HTTPS = (b"x-forwarded-proto", b"https")


class Asked:
    """A request with these headers from this peer."""

    def __init__(
        self,
        peer: str | None,
        *headers: tuple[bytes, bytes],
        host: str = "pass.example",
        scheme: str = "http",
    ) -> None:
        client = None if peer is None else (peer, 1)
        self.scope: Scope = {"type": "http", "scheme": scheme, "client": client}
        self._headers = [(b"host", host.encode()), *headers]

    def header(self, name: bytes) -> list[bytes]:
        return [value for each, value in self._headers if each == name]


def code(front: Front, asked: Asked) -> str | None:
    """The code of the refusal."""
    problem = front.refusal(asked)
    return None if problem is None else problem.code


@pytest.mark.parametrize("peer", ["10.0.0.7", "::ffff:10.0.0.7", "2001:db8::1", "127.0.0.2"])
def test_a_listed_proxy_that_says_https_is_let_in(peer: str) -> None:
    """With any Host, on any of its addresses, in any letter case."""
    assert code(PROXIES, Asked(peer, HTTPS)) is None
    assert code(PROXIES, Asked(peer, (HTTPS[0], b"HTTPS"), host="127.0.0.1")) is None


@pytest.mark.parametrize(
    "headers",
    [(), (HTTPS, HTTPS), ((HTTPS[0], b"http"),), ((HTTPS[0], b"https, http"),), ((HTTPS[0], b""),)],
)
@pytest.mark.parametrize("peer", ["10.0.0.7", "127.0.0.2"])
@pytest.mark.parametrize("host", ["pass.example", "127.0.0.1:8080"])
def test_a_listed_proxy_that_does_not_say_https_once_is_refused(
    peer: str, headers: tuple[tuple[bytes, bytes], ...], host: str
) -> None:
    """On loopback too, and with the Host of loopback, which proxies send unless told otherwise."""
    assert code(PROXIES, Asked(peer, *headers, host=host)) == "https.required"


@pytest.mark.parametrize("peer", ["10.0.1.7", "192.0.2.1", "2001:db8:1::1", None])
def test_who_is_not_listed_is_refused_whatever_it_says(peer: str | None) -> None:
    """Its X-Forwarded-Proto is its own."""
    assert code(PROXIES, Asked(peer, HTTPS)) == "https.required"
    assert code(PROXIES, Asked(peer, HTTPS, host="localhost")) == "https.required"
    assert code(Front(), Asked(peer, HTTPS, host="localhost")) == "https.required"


def test_this_machine_is_let_in_by_names_of_its_own() -> None:
    """As without proxies; a header does not help a page in a browser here."""
    for front in (Front(), PROXIES):
        assert code(front, Asked("127.0.0.1", host="127.0.0.1:8080")) is None
        assert code(front, Asked("::1", host="[::1]:8080")) is None
        assert code(front, Asked("127.0.0.1", HTTPS)) == "host.not.allowed"


def test_over_tls_every_host_is_let_in_and_one_is_needed() -> None:
    """The certificate has proved which host it is."""
    assert code(Front(), Asked("192.0.2.1", scheme="https")) is None
    assert code(Front(), Asked("192.0.2.1", (b"host", b"two"), scheme="https")) == "host.invalid"


@pytest.mark.parametrize(
    ("peer", "forwarded", "logged"),
    [
        ("192.0.2.1", b"198.51.100.9", "192.0.2.1"),
        ("10.0.0.7", b"203.0.113.5, 198.51.100.9, 10.0.0.8", "198.51.100.9"),
        ("10.0.0.7", b"198.51.100.9:4711", "198.51.100.9"),
        ("10.0.0.7", b"[2001:db8:1::5]:4711", "2001:db8:1::5"),
        ("10.0.0.7", b"x\n, y", "10.0.0.7"),
        ("10.0.0.7", b"10.0.0.9", "10.0.0.9"),
        ("10.0.0.7", b"", "10.0.0.7"),
        ("::ffff:192.0.2.1", b"", "192.0.2.1"),
        (None, b"198.51.100.9", None),
    ],
)
def test_the_logged_address_is_the_last_that_is_no_proxy_of_ours(
    peer: str | None, forwarded: bytes, logged: str | None
) -> None:
    """What stands before it, a caller may have made up; and it is an address or nothing."""
    assert PROXIES.client(Asked(peer, (b"x-forwarded-for", forwarded))) == logged
