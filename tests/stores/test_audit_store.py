"""The contract of ``AuditStore``."""

import pytest

from passferry.domain.audit import EXPORTED, PRUNED, START, Head
from passferry.store_ports import TrailMoved
from store_bench import NOW, Bench, run


async def _five(bench: Bench) -> list[bytes]:
    """Five records; their MACs."""
    for n in range(5):
        await bench.accepted(f"u{n}@example.com")
    return [link.mac for link in await bench.audit.links("default", 0, 100)]


def test_the_chain_can_be_read_in_parts(bench: Bench) -> None:
    """From any place on, a bounded number at a time."""

    async def body() -> None:
        await _five(bench)
        heads = await bench.audit.heads()
        assert (heads["default"].seq, heads["other"]) == (5, START)
        whole = await bench.audit.links("default", 0, 100)
        assert [link.seq for link in whole] == [1, 2, 3, 4, 5]
        assert await bench.audit.links("default", 2, 2) == whole[2:4]
        assert await bench.audit.links("default", 5, 100) == []
        assert await bench.audit.links("other", 0, 100) == []

    run(body)


def test_an_export_is_remembered_in_the_chain(bench: Bench) -> None:
    """By a record with its head; the newest one up to a number is found, of its org and kind alone."""

    async def body() -> None:
        macs = await _five(bench)
        assert await bench.audit.newest("default", EXPORTED, 100) is None
        await bench.audit.note_exported("default", Head(5, macs[4]), "operator:ann", NOW)
        await bench.audit.note_exported("default", Head(6, bytes(32)), "operator:ann", NOW)
        found = await bench.audit.newest("default", EXPORTED, 100)
        assert found is not None
        assert (found.seq, found.record.kind, found.record.actor) == (7, EXPORTED, "operator:ann")
        older = await bench.audit.newest("default", EXPORTED, 6)
        assert older is not None
        assert (older.seq, older.record.other) == (6, f"5:{macs[4].hex()}")
        assert await bench.audit.newest("other", EXPORTED, 100) is None
        assert await bench.audit.newest("default", PRUNED, 100) is None

    run(body)


def test_pruning_deletes_the_oldest_and_says_where_the_chain_begins(bench: Bench) -> None:
    """One transaction; the rest stays as it is, and so do the chains of others."""

    async def body() -> None:
        macs = await _five(bench)
        await bench.accepted(org="other")
        base = await bench.audit.prune("default", START, macs[:2], "operator:ann", NOW)
        assert base == Head(2, macs[1])
        left = await bench.audit.links("default", 0, 100)
        assert [link.seq for link in left] == [3, 4, 5, 6]
        assert (left[-1].record.kind, left[-1].record.other) == (PRUNED, str(base))
        assert (await bench.audit.heads())["default"] == Head(6, left[-1].mac)
        assert await bench.audit.prune("default", base, macs[2:3], "operator:ann", NOW) == Head(3, macs[2])
        assert await bench.records("other") == ["accepted"]

    run(body)


@pytest.mark.parametrize("wrong", ["not the oldest", "another mac", "more than there are", "twice"])
def test_only_what_is_there_as_it_was_read_is_deleted(bench: Bench, wrong: str) -> None:
    """Otherwise nothing is, and nothing is written down."""

    async def body() -> None:
        macs = await _five(bench)
        after, gone = {
            "not the oldest": (Head(1, macs[0]), macs[1:3]),
            "another mac": (START, [macs[0], bytes(32)]),
            "more than there are": (START, [*macs, bytes(32)]),
            "twice": (START, macs[:2]),
        }[wrong]
        if wrong == "twice":
            await bench.audit.prune("default", START, macs[:2], "operator:ann", NOW)
        before = await bench.audit.links("default", 0, 100)
        with pytest.raises(TrailMoved):
            await bench.audit.prune("default", after, gone, "operator:ann", NOW)
        assert await bench.audit.links("default", 0, 100) == before

    run(body)
