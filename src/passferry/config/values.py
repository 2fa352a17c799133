"""From what a file or the environment holds to a checked value. Every reader raises ``Wrong``, nothing else.

Numbers and switches may come as TOML's own types or as text, since the environment knows only text.
"""

import contextlib
import ipaddress
import math
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import SplitResult, urlsplit

from passferry.config.problems import Wrong
from passferry.domain.source_rules import folded

Reader = Callable[[Any], Any]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_PORTS = {"https": 443, "http": 80}
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)([smhd]?)")
_NUMBER = re.compile(r"\d{1,12}(?:\.\d{1,6})?")


def text(value: Any) -> str:
    """Text that is not empty and holds no control character."""
    if not isinstance(value, str):
        raise Wrong("is not text", "put it in quotes")
    if not value.strip() or not value.isprintable():
        raise Wrong("is empty or holds control characters", "check what was pasted or mounted there")
    return value


def switch(value: Any) -> bool:
    """A switch: true or false; in the environment also yes, no, on, off, 1, 0."""
    if isinstance(value, bool):
        return value
    words = {
        "true": True,
        "yes": True,
        "on": True,
        "1": True,
        "false": False,
        "no": False,
        "off": False,
        "0": False,
    }
    found = words.get(value.strip().lower()) if isinstance(value, str) else None
    if found is None:
        raise Wrong("is neither true nor false", "write true or false")
    return found


def choice(*allowed: str) -> Reader:
    """One of the words ``allowed``."""

    def read(value: Any) -> str:
        word = value.strip().lower() if isinstance(value, str) else ""
        if word not in allowed:
            raise Wrong("is none of the words that it can be", "it is one of: " + ", ".join(allowed))
        return word

    return read


def number(least: float, most: float, unit: str) -> Reader:
    """A number between ``least`` and ``most``, both included."""

    def read(value: Any) -> float:
        found = _number(value)
        if found is None or not least <= found <= most:
            raise Wrong(f"is no number from {least:g} to {most:g}", f"give {unit}")
        return found

    return read


def whole(least: int, most: int, unit: str) -> Reader:
    """A whole number between ``least`` and ``most``, both included."""

    def read(value: Any) -> int:
        found = _number(value)
        if found is None or found != int(found) or not least <= found <= most:
            raise Wrong(f"is no whole number from {least} to {most}", f"give {unit}")
        return int(found)

    return read


def duration(least: float, most: float) -> Reader:
    """Seconds, as a number or as ``30s``, ``15m``, ``72h``, ``3d``; ``least`` to ``most`` seconds."""

    def read(value: Any) -> float:
        found = None if isinstance(value, str) else _number(value)
        if isinstance(value, str) and (parts := _DURATION.fullmatch(value.strip().lower())):
            found = float(parts[1]) * _UNITS[parts[2]]
        if found is None or not least <= found <= most:
            raise Wrong(
                f"is no time from {least:g} to {most:g} seconds",
                "write seconds, or a number with s, m, h or d, as in 72h",
            )
        return found

    return read


def listen(value: Any) -> tuple[str, int]:
    """``HOST:PORT``; an IPv6 address in brackets; port 0 takes a free one."""
    parts = _split("//" + value.strip()) if isinstance(value, str) and "/" not in value else None
    port = _port(parts)
    if (
        parts is None
        or not parts.hostname
        or port is None
        or "@" in parts.netloc
        or parts.query
        or parts.fragment
    ):
        raise Wrong("is no HOST:PORT", "write it as in 127.0.0.1:8080 or [::1]:8080")
    return parts.hostname, port


def networks(value: Any) -> tuple[Network, ...]:
    """Addresses and networks (CIDR): text with commas between them, or a list of such texts."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise Wrong("is no list of networks", "write them as in 10.0.0.7, 192.0.2.0/24")
    return tuple(_network(part.strip()) for item in items for part in item.split(","))


def _network(text: str) -> Network:
    found: Network | None = None
    with contextlib.suppress(ValueError):
        found = ipaddress.ip_network(text, strict=False)
    if found is not None and "/" in text and found.network_address != ipaddress.ip_interface(text).ip:
        raise Wrong(
            "holds a network with bits of a host",
            f"write {found} for the whole network, or {text.partition('/')[0]} for the one address",
        )
    if found is None:
        raise Wrong(
            "holds what is no network", "write them as in 10.0.0.7, 192.0.2.0/24: address/prefix length"
        )
    if found.prefixlen == 0:
        raise Wrong("lets in every address", "whoever is listed is believed: list the proxy's own addresses")
    return found


def template(value: Any) -> str:
    """What completes a short name: ``{uid}`` once, and an ``@``."""
    found = text(value).strip()
    if found.count("{uid}") != 1 or "@" not in found or " " in found:
        raise Wrong("completes no name", "it holds {uid} once and an @, as in {uid}@example.com")
    return found


def words(value: Any) -> tuple[str, ...]:
    """A list of words, or text with commas between them; none is empty."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list) or not parts or not all(isinstance(part, str) for part in parts):
        raise Wrong("is no list", 'write it as in ["one", "two"]')
    return tuple(text(part).strip() for part in parts)


def users(value: Any) -> frozenset[str]:
    """Ids and userNames, folded."""
    found = words(value)
    if any(" " in name for name in found):
        raise Wrong("holds what is no user", "give ids and userNames, as in root@example.com")
    return frozenset(map(folded, found))


def origin(value: Any) -> str:
    """An address that is a host only: https, or http on loopback; no user, path or query."""
    parts = _address(value)
    if parts.path not in ("", "/"):
        raise Wrong("has a path", "give scheme and host only, as in https://api.mypurecloud.com")
    return f"{parts.scheme}://{_host(parts)}"


def base(value: Any) -> str:
    """An address with a path: https, or http on loopback; no user or query."""
    parts = _address(value)
    return f"{parts.scheme}://{_host(parts)}{parts.path.rstrip('/')}"


def database(value: Any) -> str:
    """``postgresql://…``; SQLite needs no address, it lies in the state directory."""
    parts = _split(value.strip()) if isinstance(value, str) else None
    if parts is None or parts.scheme not in ("postgresql", "postgres") or not parts.netloc:
        raise Wrong(
            "is no postgresql:// address",
            "write postgresql://USER@HOST/DATABASE, or leave it out for SQLite in the state directory",
        )
    try:
        torn = parts.port == 0 or parts.netloc.count("@") > 1 or "@" in parts.path or bool(parts.fragment)
    except ValueError:
        torn = "," not in parts.netloc  # several hosts, each with its port
    if torn:
        raise Wrong(
            "has a part that is torn or misplaced",
            "percent-encode special characters of user and password: / as %2F, @ as %40, # as %23, ? as %3F",
        )
    return str(value).strip()


def loopback(host: str) -> bool:
    """Whether ``host`` is this machine: ``localhost`` or a loopback address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _address(value: Any) -> SplitResult:
    parts = _split(value.strip()) if isinstance(value, str) and value.isprintable() else None
    if (
        parts is None
        or not parts.hostname
        or (":" in parts.netloc.rpartition("]")[2] and _port(parts) is None)
    ):
        raise Wrong("is no address", "write it as in https://api.mypurecloud.com")
    if "@" in parts.netloc:
        raise Wrong("holds a user name or password", "credentials have settings of their own")
    if parts.query or parts.fragment or "?" in value or "#" in value:
        raise Wrong("has a query or fragment", "give scheme and host only, as in https://api.mypurecloud.com")
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback(parts.hostname)):
        raise Wrong(
            "is neither https nor http on loopback", "passwords travel there: use https, as in https://host"
        )
    return parts


def _host(parts: SplitResult) -> str:
    """Host and port; without the port that the scheme means anyway, so that equal addresses look alike."""
    host = parts.netloc.lower()
    return host.rpartition(":")[0] if parts.port == _PORTS[parts.scheme] else host


def _split(value: str) -> SplitResult | None:
    try:
        return urlsplit(value)
    except ValueError:
        return None


def _port(parts: SplitResult | None) -> int | None:
    try:
        return parts.port if parts is not None else None
    except ValueError:
        return None


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        stripped = value.strip()  # float() strips less: it fails for U+001F
        return float(stripped) if _NUMBER.fullmatch(stripped) else None
    if not isinstance(value, int | float) or abs(value) > 1e12 or not math.isfinite(value):
        return None
    return float(value)
