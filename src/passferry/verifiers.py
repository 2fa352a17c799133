"""Verifiers of what was delivered: made beside the write, and compared with.

For a while, a machine may deliver faster than it hashes. An outcome that is known must not wait for that:
until it is committed, the write counts as one whose effect nobody knows. So it is committed without its
verifier when that takes long; the verifier comes after it, or, when the org is given back, never.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

from passferry.domain.change import Change
from passferry.domain.password import Password
from passferry.ports import Binding, Hasher, SealBroken, Sealer, UnknownKey, VerifierBroken
from passferry.store_ports import Delivered, DeliveryStore, StaleSeal

log = structlog.get_logger("passferry.deliver")
T = TypeVar("T")


class Verifiers:
    """Those of one org."""

    def __init__(self, org: str, hasher: Hasher | None, sealer: Sealer, store: DeliveryStore) -> None:
        """``hasher`` None: none are made."""
        self._org, self._hasher, self._sealer, self._store = org, hasher, sealer, store
        self._under_way: set[asyncio.Task[Any]] = set()
        self._given_up = False

    def begin(self, password: Password) -> "asyncio.Task[bytes] | None":
        """Begin to make the verifier of ``password``, where one is to be made. Whoever asked cancels it."""
        if self._hasher is None or self._given_up:
            return None
        return self._begun(self._hasher.hash(password))

    def give_up(self) -> None:
        """Make none any more, and compare with none."""
        self._given_up = True
        for hashing in list(self._under_way):
            hashing.cancel()

    async def of(
        self, change: Change, hashing: "asyncio.Task[bytes] | None", within: float | None = None
    ) -> bytes | None:
        """The verifier of what ``change`` brought; None when there is none ``within`` so many seconds."""
        if hashing is None:
            return None
        await asyncio.wait([hashing], timeout=within)
        if not hashing.done() or hashing.cancelled():
            return None
        if isinstance(hashing.exception(), MemoryError | RuntimeError):
            log.error("verifier.failed", org=self._org, change=change.id)
            return None
        return hashing.result()

    async def add(self, change: Change, hashing: "asyncio.Task[bytes] | None") -> None:
        """Store, when it is done, the verifier of a change that was settled without. Raises ``StoreFull``."""
        verifier = await self.of(change, hashing)
        if verifier is None:
            return
        try:
            await self._store.add_verifier(change, self.sealed(change, verifier))
        except StaleSeal as stale:
            if self._sealer.use(str(stale)):
                await self._store.add_verifier(change, self.sealed(change, verifier))

    def can_tell(self, delivered: Delivered) -> bool:
        """Whether a password can be compared with the one that was ``delivered``."""
        return self._hasher is not None and delivered.verifier is not None

    async def is_of(self, delivered: Delivered, password: Password) -> bool | None:
        """Whether ``password`` is the one that was ``delivered``, of which one ``can_tell``.

        None when verifiers were given up. False where it cannot be found out: then the target is right.
        """
        if self._hasher is None or delivered.verifier is None or self._given_up:
            return None
        binding = Binding("verifier", self._org, delivered.resolved_id, delivered.change_id)
        try:
            verifier = self._sealer.open(delivered.verifier, binding)
        except (SealBroken, UnknownKey):
            return False
        comparing = self._begun(self._hasher.verify(verifier, password))
        try:
            await asyncio.wait([comparing])
        finally:
            comparing.cancel()
        if comparing.cancelled():
            return None
        if isinstance(comparing.exception(), VerifierBroken | MemoryError | RuntimeError):
            log.error("verifier.failed", org=self._org, change=delivered.change_id)
            return False
        return comparing.result()

    def _begun(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    def sealed(self, change: Change, verifier: bytes) -> bytes:
        """``verifier`` of what ``change`` brought, under the active key."""
        binding = Binding("verifier", self._org, change.resolved_id or "", change.id)
        return self._sealer.seal(verifier, binding)
