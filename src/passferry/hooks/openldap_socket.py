"""The Unix socket that slapd's ``sock`` overlay speaks to: made for slapd alone, read a block at a time."""

import fcntl
import os
import pwd
import socket
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MOST_BYTES = 16 * 1024 * 1024
"""Of a block. slapd takes 4 MiB from a client by default; base64 makes a third more of it."""
READ_SECONDS = 5.0
BACKLOG = 128
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid (unix(7), SO_PEERCRED)


class SocketUnusable(Exception):
    """It cannot be listened there; the text says why, and what to do."""


class TooLong(Exception):
    """A block has more than ``MOST_BYTES``."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Which process of which user is at the other end."""

    pid: int
    uid: int


@contextmanager
def listening(path: Path, slapd_user: str) -> Iterator[socket.socket]:
    """A socket at ``path`` that ``slapd_user`` and root may connect to. Raises ``SocketUnusable``.

    A file that another process left there is replaced; that of one which still runs is not.
    """
    problem = ""
    with _alone(path):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _remove(path)
            _bind(listener, path)
            _hand_to(path, pwd.getpwnam(slapd_user))
            listener.listen(BACKLOG)
        except KeyError:
            problem = f"there is no user {slapd_user}: --slapd-user names the one who runs slapd"
        except OSError as error:
            problem = f"cannot listen at {path}: {error.strerror or error}"
        if problem:
            listener.close()
            raise SocketUnusable(problem)
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)
            listener.close()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    lock = path.with_name(path.name + ".lock")
    problem = ""
    descriptor = -1
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        problem = f"another `passferry hook openldap` serves {path}"
    except OSError as error:
        problem = f"cannot use {lock}: {error.strerror}"
    if problem:
        if descriptor >= 0:
            os.close(descriptor)
        raise SocketUnusable(problem)
    try:
        yield
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    """The socket that a process left which did not end well."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise OSError(0, "there is a file that is no socket")
    path.unlink()


def _bind(listener: socket.socket, path: Path) -> None:
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)


def _hand_to(path: Path, user: pwd.struct_passwd) -> None:
    """Let ``user`` connect, who needs to write to the file for that (unix(7)), and nobody else."""
    if os.geteuid() == user.pw_uid:
        return
    if os.geteuid() == 0:
        os.chown(path, user.pw_uid, user.pw_gid)
        return
    try:
        os.chown(path, -1, user.pw_gid)
    except PermissionError:
        pass
    else:
        path.chmod(0o660)
        return
    raise OSError(0, f"run it as root, as {user.pw_name}, or as a member of group {user.pw_gid}")


def peer_of(connection: socket.socket) -> Peer:
    """Who is at the other end, as the kernel says."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    return Peer(pid, uid)


def read_from(connection: socket.socket) -> bytes:
    """One block, up to the empty line that ends it, or to where the other side stopped.

    Raises:
        TooLong: it has no end within ``MOST_BYTES``.
        OSError: it did not come within ``READ_SECONDS``.
    """
    deadline = time.monotonic() + READ_SECONDS
    data = bytearray()
    while not data.endswith(b"\n\n"):
        if len(data) > MOST_BYTES:
            raise TooLong
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        part = connection.recv(1 << 16)
        if not part:
            break
        data += part
    return bytes(data)
