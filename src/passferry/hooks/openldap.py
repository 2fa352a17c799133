"""``passferry hook openldap``: serves the Unix socket of slapd's ``sock`` overlay (slapd-sock(5))."""

import os
import pwd
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from passferry.hooks import journal
from passferry.hooks.arguments import nothing_more, options
from passferry.hooks.calling import gateway_for
from passferry.hooks.codes import DONE, FAILED, USAGE
from passferry.hooks.conceal import conceal
from passferry.hooks.openldap_desk import Desk
from passferry.hooks.openldap_intent import Refuse, reply
from passferry.hooks.openldap_socket import SocketUnusable, TooLong, listening, peer_of, read_from

DEFAULTS = {
    "socket": "/run/passferry/openldap.sock",
    "slapd-user": "openldap",
    "ldapi": "/run/slapd/ldapi",
    "user-attribute": "uid",
}
WORKERS = 32
"""Connections at once. slapd has 16 threads by default, and each waits for one answer at a time."""
RESULTS_SECONDS = 3.0
"""At the end: so long the results of what is under way are waited for."""
_TOO_LARGE = Refuse(11, "the operation is too large to be looked at")


def run(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM or SIGINT. 0: all that was confirmed was handed over. 1: something was left."""
    found = options(arguments, {"self-test"}, {"config", "slapd-config", *DEFAULTS})
    nothing_more(found)
    values = DEFAULTS | found.values
    if "self-test" in found.flags:
        from passferry.hooks.self_test_openldap import run as self_test

        return self_test(values)
    conceal()
    gateway = gateway_for("openldap", found.values, os.environ)
    if gateway is None:
        return USAGE
    desk = Desk(gateway, Path(values["ldapi"]), values["user-attribute"])
    path, problem = Path(values["socket"]), ""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        with listening(path, values["slapd-user"]) as listener:
            print(f"passferry hook openldap listens at {path}", flush=True)
            uids = {0, pwd.getpwnam(values["slapd-user"]).pw_uid}
            return _serve(desk, listener, uids)
    except SocketUnusable as error:
        problem = str(error)
    print(f"passferry hook openldap: {problem}", file=sys.stderr)
    return USAGE


def _serve(desk: Desk, listener: socket.socket, uids: set[int]) -> int:
    stopped = threading.Event()
    hands = threading.Thread(target=desk.work, args=(stopped,), daemon=True)
    hands.start()
    for _ in range(WORKERS):
        threading.Thread(target=_work, args=(desk, listener, uids), daemon=True).start()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    desk.closing.set()
    end = time.monotonic() + RESULTS_SECONDS
    while len(desk.held) and time.monotonic() < end:
        time.sleep(0.02)
    listener.shutdown(socket.SHUT_RDWR)  # wakes those who wait for connections
    stopped.set()
    hands.join(20.0)
    if len(desk.held):  # or, mostly, failed so early that there will be none
        journal.complain("openldap", f"ended before slapd reported on {len(desk.held)} changes")
    left = desk.left()
    if left:
        journal.complain("openldap", f"ended before {left} changes were handed over")
    return FAILED if left else DONE


def _work(desk: Desk, listener: socket.socket, uids: set[int]) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            if desk.closing.is_set():
                return
            time.sleep(0.05)  # out of descriptors, for a moment
            continue
        with connection:
            try:
                _one(desk, connection, uids)
            except OSError:
                continue  # slapd went away, or was too slow


def _one(desk: Desk, connection: socket.socket, uids: set[int]) -> None:
    peer = peer_of(connection)
    if peer.uid not in uids:
        journal.complain("openldap", f"user {peer.uid} may not speak to the socket")
        return
    try:
        data = read_from(connection)
    except TooLong:
        connection.sendall(reply(_TOO_LARGE))
        return
    answer = desk.answer(data, peer.pid)
    if answer:
        connection.sendall(answer)
