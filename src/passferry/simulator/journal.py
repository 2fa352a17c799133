"""What the stand-in remembers of recent requests: never a body, never a header."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from typing import Any

from passferry.simulator.directory import iso
from passferry.simulator.wire import Fate


@dataclass(frozen=True, slots=True)
class Entry:
    """One request. `time` in epoch seconds; `fault` the name of the fault that struck, or None."""

    time: float
    method: str
    path: str
    query: str
    status: int
    fault: str | None
    fate: Fate
    correlation_id: str
    client: str | None
    user: str | None

    def as_json(self) -> dict[str, Any]:
        """The entry as JSON values."""
        body = asdict(self) | {"time": iso(self.time), "fate": self.fate.value}
        body["correlationId"] = body.pop("correlation_id")
        return body


@dataclass(slots=True)
class Journal:
    """The last requests, newest last, and counts of all of them."""

    entries: deque[Entry]
    counts: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def note(self, entry: Entry) -> None:
        """Remember what was applied without a new request, such as a late write: not counted again."""
        self.entries.append(entry)

    def add(self, entry: Entry) -> None:
        """Remember one request."""
        self.note(entry)
        self.counts["requests"] += 1
        self.statuses[entry.status] += 1
        if entry.path == "/oauth/token":
            self.counts["tokenRequests"] += 1
        if entry.fault is not None:
            self.faults[entry.fault] += 1
        elif entry.status == 429:
            # Kept apart from injected ones: a client that paces itself never sees these.
            self.counts["rateLimited"] += 1
