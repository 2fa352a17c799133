"""What has ended is deleted in batches, when it is old enough."""

import asyncio

from campaign.virtual_time import EPOCH, VirtualClock, run
from passferry.domain.accepting import KEYS_KEPT
from passferry.retention import ACCESS_KEPT, BATCH, CHANGES_KEPT, MOST_BATCHES, prune


class Rows:
    """A ``RetentionStore`` that has so many old rows of each kind."""

    def __init__(self, changes: int, keys: int) -> None:
        self.changes, self.keys = changes, keys
        self.asked: set[float] = set()

    async def prune_changes(self, ended_before: float, most: int) -> int:
        """See the port."""
        self.asked.add(ended_before)
        done = min(most, self.changes)
        self.changes -= done
        return done

    async def prune_idempotency(self, made_before: float, most: int) -> int:
        """See the port."""
        self.asked.add(made_before)
        done = min(most, self.keys)
        self.keys -= done
        return done

    async def prune_access(self, revoked_before: float, most: int) -> int:
        """See the port."""
        self.asked.add(revoked_before)
        return 0

    async def forget_user(self, *_: object) -> None:
        """See the port."""


def test_what_is_old_goes_in_batches_with_pauses() -> None:
    """All old rows go, 30 days and one day back from now, and there is time between two batches."""

    async def body() -> None:
        clock = VirtualClock(asyncio.get_running_loop())
        rows = Rows(BATCH * 3 + 1, 7)
        assert await prune(rows, clock) == (BATCH * 3 + 1, 7)
        assert rows.asked == {EPOCH - CHANGES_KEPT, EPOCH - KEYS_KEPT, EPOCH - ACCESS_KEPT}
        assert clock.monotonic() > 0.1

    run(body())


def test_one_go_is_bounded() -> None:
    """However much there is, one call ends, and the next goes on."""

    async def body() -> None:
        clock = VirtualClock(asyncio.get_running_loop())
        rows = Rows(BATCH * MOST_BATCHES + 5, 0)
        assert await prune(rows, clock) == (BATCH * MOST_BATCHES, 0)
        assert await prune(rows, clock) == (5, 0)

    run(body())
