"""The contract of ``AccessStore``."""

import pytest

from passferry.store_ports import Caller, NameTaken
from store_bench import NOW, Bench, run


def key(key_id: str, name: str, orgs: tuple[str, ...] = ()) -> Caller:
    """A caller whose key is new."""
    return Caller(key_id, name, "source", orgs, "{uid}@example.com", NOW)


def test_a_key_is_kept_as_it_was_given(bench: Bench) -> None:
    """All fields and the hash come back; several orgs, one, or all."""

    async def body() -> None:
        callers = [key("1", "all"), key("2", "one", ("default",)), key("3", "two", ("default", "other"))]
        for caller in callers:
            await bench.access.add_key(caller, caller.id.encode() * 32, NOW)
        assert await bench.access.keys() == [(caller, caller.id.encode() * 32) for caller in callers]

    run(body)


def test_a_name_is_taken_until_it_is_revoked(bench: Bench) -> None:
    """A second key of the same name is refused and not stored; after revoking the name is free."""

    async def body() -> None:
        await bench.access.add_key(key("1", "portal"), b"1", NOW)
        with pytest.raises(NameTaken):
            await bench.access.add_key(key("2", "portal"), b"2", NOW)
        assert len(await bench.access.keys()) == 1
        assert await bench.access.revoke("portal", "operator:ann", NOW + 5)
        await bench.access.add_key(key("2", "portal"), b"2", NOW + 6)
        revoked = {caller.id: caller.revoked_at for caller, _ in await bench.access.keys()}
        assert revoked == {"1": NOW + 5, "2": None}

    run(body)


def test_revoking_says_whether_there_was_a_key(bench: Bench) -> None:
    """Twice, or under an unknown name, there is none; the first time stays."""

    async def body() -> None:
        await bench.access.add_key(key("1", "portal"), b"1", NOW)
        assert [await bench.access.revoke("portal", "a", NOW + n) for n in (1, 2)] == [True, False]
        assert not await bench.access.revoke("nobody", "a", NOW)
        assert [caller.revoked_at for caller, _ in await bench.access.keys()] == [NOW + 1]

    run(body)


def test_keys_that_were_revoked_long_ago_are_deleted(bench: Bench) -> None:
    """A bounded number at a time; those in use stay, however old."""

    async def body() -> None:
        for n in range(4):
            await bench.access.add_key(key(str(n), f"n{n}"), b"1", NOW)
        for n in range(3):
            await bench.access.revoke(f"n{n}", "operator:ann", NOW + n)
        assert await bench.keep.prune_access(NOW + 1, 1) == 1
        assert await bench.keep.prune_access(NOW + 1, 5) == 1
        assert [caller.id for caller, _ in await bench.access.keys()] == ["2", "3"]

    run(body)


def test_who_may_do_what_is_in_the_chain_of_every_org_concerned(bench: Bench) -> None:
    """A key for one org is noted there, a key for all in each, its end like its beginning."""

    async def body() -> None:
        await bench.access.add_key(key("1", "one", ("other",)), b"1", NOW)
        await bench.access.add_key(key("2", "all"), b"2", NOW)
        await bench.access.revoke("one", "operator:ann", NOW)
        assert await bench.records("default") == ["key.added"]
        assert await bench.records("other") == ["key.added", "key.added", "key.revoked"]

    run(body)
