"""The use case rotate: a new sealing key; what is stored is sealed with it; then the old key is destroyed.

Each step is durable before the next, and may be cut short anywhere. Running it again goes on from there:

1. The ring gets the new key, as its active one, and keeps the old. A running gateway sees the new file before
   its next seal. Where several machines have copies of the ring, the key is prepared first: every copy has it
   then, and a gateway uses it as soon as the store takes nothing else.
2. The store takes nothing any more that is sealed under an old key: what was sealed before that moment is in
   it already, or is refused and sealed again.
3. What is stored is sealed again in small batches, which leave room for the gateway between them.
4. Once nothing needs another key, and the audit trail says so, the old keys are destroyed.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from passferry.ports import Clock, KeyHolder, SealBroken, Sealer, UnknownKey
from passferry.store_ports import ResealStore, SealedRow

BATCH = 100
PAUSE = 0.02
"""Seconds between two batches, in which others get at the database."""


@dataclass(frozen=True, slots=True)
class Rotated:
    """What came of it. ``unreadable``: values that do not open, for which the old keys were kept."""

    key: str
    resumed: bool
    resealed: int
    destroyed: tuple[str, ...]
    unreadable: tuple[str, ...]


async def rotate(
    keys: KeyHolder,
    store: ResealStore,
    sealer: Sealer,
    clock: Clock,
    actor: str,
    step: Callable[[str], None] = lambda name: None,
) -> Rotated:
    """Rotate the sealing key, or finish a rotation: cut short here, or made on another machine.

    Safe beside a running gateway.

    Args:
        keys: the ring.
        store: what is sealed.
        sealer: over the same ring; it must see what ``keys`` does to it.
        clock: dates the audit trail.
        actor: who does it, for the audit trail.
        step: told the name of each step once it is durable.

    Raises:
        StaleSeal: another machine rotates at this very moment, to the key that it names.
    """
    active, old, prepared = keys.keys()
    required = await store.sealing_key()
    elsewhere = prepared is not None and prepared == required
    resumed = bool(old) or required not in (None, active)
    if elsewhere or not resumed:
        old = frozenset({active})
        active = keys.advance()
        step("added")
    await store.retire(old, active, actor, clock.now())
    step("retired")
    resealed, unreadable = await _reseal_all(store, sealer, active, step)
    if unreadable:
        return Rotated(active, resumed, resealed, (), tuple(unreadable))
    if old:
        await store.note_retired(old, actor, clock.now())
        step("noted")
        keys.destroy_old()
        step("destroyed")
    return Rotated(active, resumed, resealed, tuple(sorted(old)), ())


async def _reseal_all(
    store: ResealStore, sealer: Sealer, active: str, step: Callable[[str], None]
) -> tuple[int, list[str]]:
    """How many values were sealed again, and which could not be opened."""
    resealed = 0
    while rows := await store.sealed_otherwise(active):
        unreadable: list[str] = []
        anew = partial(_anew, sealer, unreadable)
        for start in range(0, len(rows), BATCH):
            resealed += await store.reseal(rows[start : start + BATCH], active, anew)
            step("batch")
            await asyncio.sleep(PAUSE)
        if unreadable:
            return resealed, unreadable
    return resealed, []


def _anew(sealer: Sealer, unreadable: list[str], row: SealedRow) -> bytes | None:
    try:
        return sealer.seal(sealer.open(row.sealed, row.binding), row.binding)
    except (SealBroken, UnknownKey):
        unreadable.append(" ".join(row.key))
    return None
