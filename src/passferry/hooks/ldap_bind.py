"""Asks slapd itself whether a password is the one it now has: a simple bind over its local ``ldapi`` socket.

A result that the overlay reports names neither the operation nor the object, and slapd lets a client use one
message number twice. So whoever may log in could try to change another's password, which slapd refuses,
search under the same number, and have the success of the search taken for that of the change. A bind cannot
be mistaken, and is right whatever else happened meanwhile.
"""

import socket
import time
from enum import Enum
from pathlib import Path

from passferry.hooks.ber import MOST_BYTES, NotBer, bind_request, read_bind_response

SECONDS = 5.0
_SUCCESS, _INVALID_CREDENTIALS = 0, 49
_NOT_NOW = frozenset({51, 52})  # busy, unavailable


class Bound(Enum):
    """What slapd says to a password."""

    YES = "yes"
    NO = "no"  # it is not, or no longer, the user's password
    UNKNOWN = "unknown"  # it does not let that user log in here, whatever the password
    AWAY = "away"  # it cannot be asked at the moment


def reachable(path: Path) -> bool:
    """Whether a slapd listens at ``path``."""
    try:
        with _connected(path):
            return True
    except OSError:
        return False


def bound(path: Path, dn: str, password: bytes, seconds: float = SECONDS) -> tuple[Bound, str]:
    """Whether ``dn`` can log in with ``password``; if it is not known, a few words why.

    Args:
        path: slapd's ``ldapi`` socket.
        dn: the user's.
        password: in clear. An empty one would be an anonymous bind, and is never sent.
        seconds: for all of it.
    """
    if not password or not dn:
        return Bound.NO, ""
    why = "it did not answer"
    try:
        with _connected(path) as connection:
            connection.sendall(bind_request(1, dn.encode(), password))
            code = _answer(connection, time.monotonic() + seconds)
    except TimeoutError:
        code = None
    except OSError as error:
        code, why = None, error.strerror or type(error).__name__
    except NotBer:
        code, why = None, "it answered something else"
    if code == _SUCCESS:
        return Bound.YES, ""
    if code == _INVALID_CREDENTIALS:
        return Bound.NO, ""
    if code is None:
        return Bound.AWAY, why
    return Bound.AWAY if code in _NOT_NOW else Bound.UNKNOWN, f"it answered with code {code}"


def _connected(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(SECONDS)
        connection.connect(str(path))
    except BaseException:
        connection.close()
        raise
    return connection


def _answer(connection: socket.socket, deadline: float) -> int | None:
    data = b""
    while len(data) <= MOST_BYTES:
        left = deadline - time.monotonic()
        if left <= 0:
            return None
        connection.settimeout(left)
        part = connection.recv(4096)
        if not part:
            return None
        data += part
        code = read_bind_response(data)
        if code is not None:
            return code
    return None
