"""The use case retention: what has ended is not kept for good."""

from passferry.ports import Clock, RetentionStore

CHANGES_KEPT = 30 * 86400.0
"""Seconds for which a change is kept after it ended."""
KEYS_KEPT = 86400.0
"""Seconds for which an Idempotency-Key is kept at least; longer while its change is live."""
BATCH = 500
PAUSE = 0.05
"""Seconds between two batches, in which accepts get at the database."""


async def prune(store: RetentionStore, clock: Clock) -> tuple[int, int]:
    """Delete what is older; how many changes and Idempotency-Keys that were."""
    now = clock.now()
    changes = keys = 0
    while done := await store.prune_changes(now - CHANGES_KEPT, BATCH):
        changes += done
        await clock.sleep(PAUSE)
    while done := await store.prune_idempotency(now - KEYS_KEPT, BATCH):
        keys += done
        await clock.sleep(PAUSE)
    return changes, keys
