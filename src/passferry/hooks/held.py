"""Passwords that slapd is about to write: kept in memory until it says how that ended, bounded and wiped."""

from dataclasses import dataclass, field
from threading import Lock

from passferry.hooks.slapd_sock import Key

MOST = 1000
SECONDS = 60.0
"""So long a result is waited for. One that fails early, at a wrong old password, gets none."""


@dataclass(slots=True)
class Pending:
    """One new password.

    ``until``, ``made``: seconds of a clock that never jumps; the latter when slapd reported that it was
    written, and until then when it was about to be. ``away``: why slapd could not be asked about it, if so.
    """

    dn: str
    user: str
    secret: bytearray = field(repr=False)
    until: float = 0.0
    made: float = 0.0
    away: str = ""

    def wipe(self) -> None:
        """Overwrite the password."""
        self.secret[:] = bytes(len(self.secret))


@dataclass(frozen=True, slots=True)
class Ticket:
    """Which operation of which slapd: a new one counts connections from the start again."""

    pid: int
    key: Key


class Held:
    """At most ``MOST`` of them; safe to use by several threads."""

    def __init__(self) -> None:
        self._held: dict[Ticket, Pending] = {}
        self._unreported: list[Pending] = []
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._held)

    def keep(self, ticket: Ticket, pending: Pending, now: float) -> bool:
        """Keep it until ``take``, or for ``SECONDS``; False when there are too many."""
        with self._lock:
            if len(self._held) + len(self._unreported) >= MOST:
                return False
            self._give_up(ticket)
            pending.until, pending.made = now + SECONDS, now
            self._held[ticket] = pending
            return True

    def take(self, ticket: Ticket, now: float) -> Pending | None:
        """What is held under ``ticket``, which the caller has to wipe."""
        with self._lock:
            self._sweep(now)
            return self._held.pop(ticket, None)

    def unreported(self, now: float) -> list[Pending]:
        """Those of which nothing was heard in time, or whose number was used again; the caller wipes them.

        They may have been written all the same.
        """
        with self._lock:
            self._sweep(now)
            given, self._unreported = self._unreported, []
            return given

    def _sweep(self, now: float) -> None:
        for ticket in [ticket for ticket, pending in self._held.items() if pending.until <= now]:
            self._give_up(ticket)

    def _give_up(self, ticket: Ticket) -> None:
        pending = self._held.pop(ticket, None)
        if pending is not None:
            self._unreported.append(pending)
