"""Hashing: the promises of the Hasher port, threaded and inline."""

import asyncio
import os
import struct
import threading
from collections.abc import Iterator

import argon2
import pytest
from argon2.exceptions import HashingError
from argon2.low_level import Type, hash_secret_raw

from passferry.adapters import hashing
from passferry.adapters.hashing import FOR_TESTS_ONLY, RECOMMENDED, Argon2Hasher, Cost, FairTurns, parse
from passferry.domain.password import Password
from passferry.ports import VerifierBroken

PASSWORD = Password("Correct-Horse-7")


@pytest.fixture(params=[0, 2], ids=["inline", "threads"])
def hasher(request: pytest.FixtureRequest) -> Iterator[Argon2Hasher]:
    """A cheap hasher of each mode."""
    hasher = Argon2Hasher(FOR_TESTS_ONLY, threads=request.param)
    yield hasher
    hasher.close()


def test_a_verifier_knows_its_password_and_no_other(hasher: Argon2Hasher) -> None:
    """The password verifies; another one, a longer one and another case do not."""

    async def run() -> list[bool]:
        verifier = await hasher.hash(PASSWORD)
        tries = ["Correct-Horse-7", "Correct-Horse-8", "Correct-Horse-7 ", "correct-horse-7", ""]
        return [await hasher.verify(verifier, Password(text)) for text in tries]

    assert asyncio.run(run()) == [True, False, False, False, False]


def test_each_verifier_has_its_own_salt(hasher: Argon2Hasher) -> None:
    """Two verifiers of one password share neither salt nor tag."""

    async def run() -> tuple[bytes, bytes]:
        return await hasher.hash(PASSWORD), await hasher.hash(PASSWORD)

    (_, salt, tag), (_, other_salt, other_tag) = map(parse, asyncio.run(run()))
    assert salt != other_salt
    assert tag != other_tag


def test_a_lone_surrogate_does_not_raise_an_error_that_holds_the_text(hasher: Argon2Hasher) -> None:
    """Text that is no valid UTF-8 is hashed like any other: an encoding error would carry it."""
    odd = Password("\ud800abc")

    async def run() -> bool:
        return await hasher.verify(await hasher.hash(odd), odd)

    assert asyncio.run(run())


def test_verifiers_are_argon2id_as_promised() -> None:
    """A recommended verifier holds 64 MiB, t=3, p=2, 16 and 32 bytes, and equals the library's own tag."""

    async def run() -> bytes:
        hasher = Argon2Hasher(threads=0)
        return await hasher.hash(PASSWORD)

    cost, salt, tag = parse(asyncio.run(run()))
    assert cost == RECOMMENDED == Cost(memory=64 * 1024, passes=3, lanes=2)
    assert (len(salt), len(tag)) == (16, 32)
    assert tag == hash_secret_raw(b"Correct-Horse-7", salt, 3, 65_536, 2, 32, Type.ID)


def test_a_verifier_checks_at_its_own_cost() -> None:
    """A verifier made at another cost still verifies after the recommended cost has changed."""

    async def run() -> bool:
        old = Argon2Hasher(Cost(memory=32, passes=2, lanes=2), threads=0)
        new = Argon2Hasher(FOR_TESTS_ONLY, threads=0)
        return await new.verify(await old.hash(PASSWORD), PASSWORD)

    assert asyncio.run(run())


@pytest.mark.parametrize(
    ("memory", "passes", "lanes"),
    [
        (2**32 - 1, 3, 2),
        (262_145, 1, 1),
        (15, 1, 2),
        (65_536, 11, 2),
        (65_536, 0, 2),
        (65_536, 3, 0),
        (65_536, 3, 9),
    ],
)
def test_a_verifier_may_not_demand_more_than_the_bounds(
    monkeypatch: pytest.MonkeyPatch, memory: int, passes: int, lanes: int
) -> None:
    """A cost beyond the bounds is refused before anything is computed."""
    monkeypatch.setattr(hashing, "hash_secret_raw", lambda *_, **__: pytest.fail("computed"))
    verifier = struct.pack(">BIHB", 1, memory, passes, lanes) + bytes(48)
    with pytest.raises(VerifierBroken):
        asyncio.run(Argon2Hasher(threads=0).verify(verifier, PASSWORD))


@pytest.mark.parametrize(
    "verifier", [b"", b"\x01", bytes(56), bytes([1]) + bytes(56), bytes([2]) + bytes(55)]
)
def test_bytes_of_another_form_are_no_verifier(verifier: bytes) -> None:
    """Empty, short, long and unknown formats are refused."""
    with pytest.raises(VerifierBroken):
        parse(verifier)


def test_two_run_at_once_at_low_priority_and_the_loop_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many hashes exactly two run at a time, below normal priority, while the event loop keeps turning."""
    both = threading.Barrier(2, timeout=10)
    turned = threading.Event()
    running: list[int] = []
    most: list[int] = []
    niceness: set[int] = set()
    waiting: list[int] = []

    def watched(*_: object, **__: object) -> bytes:
        running.append(1)
        most.append(len(running))
        niceness.add(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        both.wait()  # fails unless two run at once
        assert turned.wait(10)  # fails unless the loop turns while a hash runs
        running.pop()
        return bytes(32)

    monkeypatch.setattr(hashing, "hash_secret_raw", watched)

    async def run() -> None:
        hasher = Argon2Hasher(FOR_TESTS_ONLY)
        hashes = asyncio.gather(*(hasher.hash(PASSWORD) for _ in range(20)))
        while not hashes.done():
            assert hasher._pool is not None
            waiting.append(hasher._pool._work_queue.qsize())
            await asyncio.sleep(0)
            if running:
                turned.set()
        await hashes
        hasher.close()

    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    asyncio.run(run())
    assert max(most) == 2
    assert niceness == {min(19, before + 10)}
    assert max(waiting) <= 4
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before


def test_the_library_is_the_one_that_was_tried() -> None:
    """Argon2 version 0x13 is what the library computes, and what the format promises."""
    assert argon2.low_level.ARGON2_VERSION == 0x13


def test_what_waits_to_be_hashed_is_counted_until_it_is_done_or_given_up() -> None:
    """Ten asked for are ten queued, whether they run or wait; none once they ended or were cancelled."""

    async def run() -> list[int]:
        hasher = Argon2Hasher(FOR_TESTS_ONLY, threads=1)
        tasks = [asyncio.create_task(hasher.hash(PASSWORD)) for _ in range(10)]
        counts = [hasher.queued]
        await asyncio.sleep(0)
        counts.append(hasher.queued)
        for task in tasks[5:]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        counts.append(hasher.queued)
        hasher.close()
        return counts

    assert asyncio.run(run()) == [0, 10, 0]


def test_an_org_with_many_to_hash_delays_another_by_one_turn() -> None:
    """Turns go round: who asks for a first one is served before those who have had theirs."""
    served: list[str] = []

    async def one(hasher: Argon2Hasher, org: str) -> None:
        await hasher.of(org).hash(PASSWORD)
        served.append(org)

    async def run() -> None:
        hasher = Argon2Hasher(FOR_TESTS_ONLY, threads=1)
        try:
            busy = [asyncio.create_task(one(hasher, "busy")) for _ in range(50)]
            await asyncio.sleep(0)
            rest = [asyncio.create_task(one(hasher, org)) for org in ("quiet", "other", "quiet")]
            await asyncio.gather(*busy, *rest)
        finally:
            hasher.close()

    asyncio.run(run())
    assert len(served) == 53
    assert max(at for at, org in enumerate(served) if org != "busy") < 12


def test_a_hash_that_the_machine_has_no_room_for_is_an_error_without_the_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The library's own is none that anybody else knows."""

    def short(*_: object, **__: object) -> bytes:
        raise HashingError("Threading failure")

    monkeypatch.setattr(hashing, "hash_secret_raw", short)
    hasher = Argon2Hasher(FOR_TESTS_ONLY, threads=0)
    with pytest.raises(RuntimeError, match="Threading failure") as raised:
        asyncio.run(hasher.hash(Password("N3w-Passw0rd!A")))
    assert raised.value.__context__ is None


def test_turns_that_were_given_up_are_not_lost() -> None:
    """Whoever is cancelled, waiting or just granted, leaves room for the others."""

    async def take(turns: FairTurns, name: str) -> None:
        async with turns.turn(name):
            await asyncio.sleep(0)

    async def run() -> int:
        turns, ended = FairTurns(2), 0
        for round_ in range(30):
            tasks = [asyncio.create_task(take(turns, f"org{number % 3}")) for number in range(12)]
            for _ in range(round_ % 6):
                await asyncio.sleep(0)
            for task in tasks[round_ % 4 :: 2]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            async with asyncio.timeout(5), turns.turn("a"), turns.turn("b"):
                ended += 1
        return ended

    assert asyncio.run(run()) == 30
