"""The use case retention: what has ended is not kept for good."""

import asyncio
from collections.abc import Awaitable, Callable

from passferry.domain.accepting import KEYS_KEPT
from passferry.ports import Clock
from passferry.store_ports import RetentionStore

CHANGES_KEPT = 30 * 86400.0
"""Seconds for which a change is kept after it ended."""
ACCESS_KEPT = 400 * 86400.0
"""Seconds for which a revoked access key is listed; the audit trail names it as well."""
BATCH = 500
MOST_BATCHES = 100
"""Of each kind in one go: called every minute, it keeps up with 800 a second and leaves time for the rest."""
PAUSE = 0.05
"""Seconds between two batches, in which accepts get at the database."""


async def prune(store: RetentionStore, clock: Clock) -> tuple[int, int]:
    """Delete what is older, revoked access keys too; how many changes and Idempotency-Keys that were."""
    now = clock.now()
    changes = await _batches(lambda: store.prune_changes(now - CHANGES_KEPT, BATCH))
    keys = await _batches(lambda: store.prune_idempotency(now - KEYS_KEPT, BATCH))
    await _batches(lambda: store.prune_access(now - ACCESS_KEPT, BATCH))
    return changes, keys


async def _batches(one: Callable[[], Awaitable[int]]) -> int:
    deleted = 0
    for _ in range(MOST_BATCHES):
        done = await one()
        deleted += done
        if done < BATCH:
            break
        await asyncio.sleep(PAUSE)
    return deleted
