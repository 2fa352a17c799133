"""What travels between the engine and whoever carries it: one request in, one reply out.

The engine opens no socket and never sleeps. A reply says what the wire must do with it (its `Fate`) and
after how many seconds, so that the same engine runs behind sockets and in virtual time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Fate(StrEnum):
    """What becomes of the connection that waits for the reply."""

    ANSWER = "answer"
    RESET = "reset"
    HANG = "hang"


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. Header names are lower case; `path` is still percent-encoded."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer, and its fate.

    `delay` is in seconds. `ANSWER`: answer after the delay. `RESET`: cut the connection after it, without a
    byte of answer. `HANG`: stay silent for the delay, then close.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = field(default=b"", repr=False)
    fate: Fate = Fate.ANSWER
    delay: float = 0.0

    def header(self, name: str) -> str | None:
        """The value of a header, whatever the case of its name; None when it is absent."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)
