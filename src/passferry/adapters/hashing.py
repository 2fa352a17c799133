"""Argon2id verifiers (RFC 9106), on threads of their own at low priority.

A hash costs a fifth of a second of CPU and 64 MiB. Two at a time, below the priority of everything else,
keep the gateway answering while they run; the library gives up the interpreter lock meanwhile.
"""

import asyncio
import hmac
import os
import struct
import threading
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass

from argon2.exceptions import HashingError
from argon2.low_level import Type, hash_secret_raw

from passferry.domain.password import Password
from passferry.ports import VerifierBroken

FORMAT = 0x01
SALT_BYTES = 16
TAG_BYTES = 32
NICENESS = 10
_LAYOUT = struct.Struct(f">BIHB{SALT_BYTES}s{TAG_BYTES}s")
_VERSION = 0x13


@dataclass(frozen=True, slots=True)
class Cost:
    """Argon2id's parameters (RFC 9106 section 3.1), checked once, here.

    Args:
        memory: KiB.
        passes: iterations over the memory.
        lanes: degree of parallelism.

    Raises:
        VerifierBroken: outside the bounds. A stored verifier is input too: what it may demand is capped.
    """

    memory: int
    passes: int
    lanes: int

    def __post_init__(self) -> None:
        if not (1 <= self.lanes <= 8 and 1 <= self.passes <= 10):
            raise VerifierBroken("passes or lanes are out of bounds")
        if not 8 * self.lanes <= self.memory <= 262_144:
            raise VerifierBroken("memory is out of bounds")


RECOMMENDED = Cost(memory=65_536, passes=3, lanes=2)
"""64 MiB, three passes: beyond RFC 9106's second recommendation in passes times memory per lane."""

FOR_TESTS_ONLY = Cost(memory=16, passes=1, lanes=1)
"""Costs an attacker nothing. Never for a real password."""


class Argon2Hasher:
    """The ``Hasher`` port. Close it when done."""

    def __init__(
        self,
        cost: Cost = RECOMMENDED,
        *,
        threads: int = 2,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Hash at ``cost``, on at most ``threads`` threads.

        Args:
            cost: of new verifiers; a verifier that is checked brings its own.
            threads: 0 computes in the caller's own thread, which blocks its event loop: only for tests in
                virtual time, where a thread's real time would not count.
            random: gives salts; a cryptographic source.
        """
        self._cost = cost
        self._random = random
        self._pool = ThreadPoolExecutor(threads, "argon2", initializer=_yield_to_others) if threads else None
        # No more waits in the pool than can start soon; the rest waits here, without a copy of the text.
        self._turns = FairTurns(2 * max(threads, 1))
        self.queued = 0
        """Hashes and comparisons asked for and not done yet, those under way included."""

    def of(self, org: str) -> "OrgHasher":
        """The same for one org. Orgs take turns: one that has many to hash delays another by one hash."""
        return OrgHasher(self, org)

    async def hash(self, password: Password, org: str = "") -> bytes:
        """A fresh verifier of ``password``: its cost, a new salt, the tag."""
        salt = self._random(SALT_BYTES)
        tag = await self._tag(password, salt, self._cost, org)
        return _LAYOUT.pack(FORMAT, self._cost.memory, self._cost.passes, self._cost.lanes, salt, tag)

    async def verify(self, verifier: bytes, password: Password, org: str = "") -> bool:
        """Whether ``verifier`` was made of ``password``; takes as long either way.

        Raises:
            VerifierBroken: it is none, or demands more than the bounds allow.
        """
        cost, salt, tag = parse(verifier)
        return hmac.compare_digest(tag, await self._tag(password, salt, cost, org))

    def close(self) -> None:
        """Drop what waits and end the threads, without waiting for hashes that run."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    async def _tag(self, password: Password, salt: bytes, cost: Cost, org: str) -> bytes:
        if self._pool is None:
            return _argon2id(password, salt, cost)
        self.queued += 1
        try:
            async with self._turns.turn(org):
                return await asyncio.get_running_loop().run_in_executor(
                    self._pool, _argon2id, password, salt, cost
                )
        finally:
            self.queued -= 1


class OrgHasher:
    """The ``Hasher`` port for one org; the threads are everybody's."""

    def __init__(self, hasher: Argon2Hasher, org: str) -> None:
        self._hasher, self._org = hasher, org

    async def hash(self, password: Password) -> bytes:
        """See the port."""
        return await self._hasher.hash(password, self._org)

    async def verify(self, verifier: bytes, password: Password) -> bool:
        """See the port."""
        return await self._hasher.verify(verifier, password, self._org)


class FairTurns:
    """At most ``most`` at a time. Of those who wait, each name has its turn before any has another."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """Wait for a turn of ``name``; it ends with the block."""
        await self._take(name)
        try:
            yield
        finally:
            self._give()

    async def _take(self, name: str) -> None:
        if self._free:
            self._free -= 1
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, deque()).append(granted)
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self._give()  # it was granted at the very moment
            raise

    def _give(self) -> None:
        while self._waiting:
            name, line = self._waiting.popitem(last=False)
            while line and line[0].done():
                line.popleft()  # it was cancelled
            if not line:
                continue
            line.popleft().set_result(None)
            if line:
                self._waiting[name] = line  # behind everybody else
            return
        self._free += 1


def parse(verifier: bytes) -> tuple[Cost, bytes, bytes]:
    """Cost, salt and tag of a verifier, its cost within the bounds. Raises ``VerifierBroken``."""
    if len(verifier) != _LAYOUT.size or verifier[0] != FORMAT:
        raise VerifierBroken("not a verifier of a known format")
    _, memory, passes, lanes, salt, tag = _LAYOUT.unpack(verifier)
    return Cost(memory, passes, lanes), salt, tag


def _argon2id(password: Password, salt: bytes, cost: Cost) -> bytes:
    # surrogatepass: an encoding error would carry the whole text.
    try:
        return hash_secret_raw(
            password.reveal().encode("utf-8", "surrogatepass"),
            salt,
            time_cost=cost.passes,
            memory_cost=cost.memory,
            parallelism=cost.lanes,
            hash_len=TAG_BYTES,
            type=Type.ID,
            version=_VERSION,
        )
    except HashingError as error:  # its own words say what is short: memory, threads
        reason = str(error)
    raise RuntimeError(reason)


def _yield_to_others() -> None:
    # On Linux a priority belongs to a thread, and the threads that the library starts inherit it.
    thread = threading.get_native_id()
    lowest = 19
    os.setpriority(os.PRIO_PROCESS, thread, min(lowest, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS))
