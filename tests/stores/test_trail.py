"""The audit trail's use cases, on every store: verify, export, prune, and attempts to deceive them."""

import re
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from sqlalchemy import text

from passferry.domain.audit import EXPORTED, PRUNED, START, Head, Link, Record, link
from passferry.domain.audit_file import from_text
from passferry.store_ports import TrailMoved
from passferry.trail import prune as prune_module
from passferry.trail.export import NoSuchRecord, TrailBroken, export, note
from passferry.trail.prune import LEAST_DAYS, NotExported, Pruned, prune
from passferry.trail.verify import BrokenFile, Finding, HeadPruned, check_chain, check_files
from store_bench import DAY, KEY, NOW, ORGS, Bench, run

LATER = NOW + 1000 * DAY


class At:
    """A clock that stands."""

    def __init__(self, now: float) -> None:
        self._now = now

    def now(self) -> float:
        """See the port."""
        return self._now

    def monotonic(self) -> float:
        """See the port."""
        return self._now


async def filled(bench: Bench, count: int = 10, org: str = "default") -> None:
    """``count`` records, a day between two."""
    for _ in range(count):
        await bench.accepted(f"u{next(bench.ids)}@example.com", org=org)
        bench.now += DAY


async def exported(bench: Bench, *, noted: bool = True) -> list[str]:
    """What an export of all orgs writes."""
    lines: list[str] = []
    for org in ORGS:
        done = await export(bench.audit, KEY, org, None, lines.append)
        if noted:
            await note(bench.audit, done, "operator:ann", At(bench.now))
    return lines


async def pruned(bench: Bench, *files: list[str], days: int = 100, now: float = LATER) -> list[Pruned]:
    """What pruning behind ``files`` comes to."""
    return await prune(bench.audit, KEY, lambda: iter(files), ORGS, days, "operator:ann", At(now))


async def verified(bench: Bench, kept: Head | None = None) -> Finding:
    """What is found about the chain of `default`."""
    return await check_chain(bench.audit, KEY, "default", kept)


def sql(bench: Bench, *statements: str) -> None:
    """What somebody who may write to the database does."""
    with bench.audit._database.engine.begin() as connection:
        postgresql = connection.dialect.name == "postgresql"
        for statement in statements:
            connection.execute(text(_of_postgresql(statement) if postgresql else statement))


def _of_postgresql(statement: str) -> str:
    return re.sub(r"\bx'([0-9a-f]*)'", r"'\\x\1'", statement).replace("set user", 'set "user"')


def seqs(lines: Iterable[str], org: str = "default") -> list[int]:
    """The numbers of the org's records among ``lines``."""
    return [
        line.link.seq
        for line in map(from_text, (each.removesuffix("\n") for each in lines))
        if line.org == org
    ]


# --- export --------------------------------------------------------------------------------------


def test_an_export_goes_on_where_the_last_one_ended(bench: Bench) -> None:
    """Together they hold every record once, the records of the exports themselves too."""

    async def body() -> None:
        await filled(bench, 3)
        await filled(bench, 2, "other")
        first = await exported(bench)
        await filled(bench, 2)
        second = await exported(bench)
        assert (seqs(first), seqs(first, "other")) == ([1, 2, 3], [1, 2])
        assert (seqs(second), seqs(second, "other")) == ([4, 5, 6], [3])
        assert from_text(second[0].removesuffix("\n")).link.record.kind == EXPORTED
        found = check_files([first, second], KEY)
        assert [(each.org, each.records, each.broken) for each in found] == [
            ("default", 6, None),
            ("other", 3, None),
        ]

    run(body)


def test_an_export_that_was_not_kept_is_repeated(bench: Bench) -> None:
    """Nothing but the note in the trail, made once the file is durable, moves the next one on."""

    async def body() -> None:
        await filled(bench, 3)
        first = await exported(bench, noted=False)
        assert await exported(bench) == first

    run(body)


def test_an_export_begins_where_it_is_told_to(bench: Bench) -> None:
    """Behind a record, which must be there. One that leaves a gap does not move the next one on."""

    async def body() -> None:
        await filled(bench, 5)
        lines: list[str] = []
        gap = await export(bench.audit, KEY, "default", 3, lines.append)
        assert (seqs(lines), gap.joins, gap.records) == ([4, 5], False, 2)
        await note(bench.audit, gap, "operator:ann", At(NOW))
        assert seqs(await exported(bench)) == [1, 2, 3, 4, 5]
        assert (await export(bench.audit, KEY, "default", 0, lines.append)).joins
        assert (await export(bench.audit, KEY, "default", 6, lines.append)).records == 0
        with pytest.raises(NoSuchRecord, match="the records 1 to 6"):
            await export(bench.audit, KEY, "default", 7, lines.append)

    run(body)


def test_records_that_come_meanwhile_are_for_the_next_export(bench: Bench) -> None:
    """However fast they come, an export ends."""

    async def body() -> None:
        await filled(bench, 3)
        lines: list[str] = []

        def more(line: str) -> None:
            lines.append(line)
            chain = Head(3 + len(lines), bytes(32))
            sql(bench, f"update orgs set head_seq = {chain.seq} where name = 'default'")

        done = await export(bench.audit, KEY, "default", None, more)
        assert (done.head.seq, len(lines)) == (3, 3)

    run(body)


@pytest.mark.parametrize(
    ("attack", "what"),
    [
        ("update audit set actor = 'nobody' where seq = 4", "record 4 does not fit"),
        ("delete from audit where seq = 4", "record 4 is missing"),
        ("delete from audit where seq <= 2", "records 1 to 2 are missing"),
        ("delete from audit where seq >= 9", "it ends at record 8"),
        ("update orgs set head_mac = 'x'", "record 10 is not the one"),
        ("update audit set at = 0.5 where seq = 1", "record 1 does not fit"),
    ],
)
def test_a_broken_trail_is_not_exported(bench: Bench, attack: str, what: str) -> None:
    """Each link is checked as it is written: an export is proof of itself."""

    async def body() -> None:
        await filled(bench)
        sql(bench, attack)
        with pytest.raises(TrailBroken, match=what):
            await exported(bench)

    run(body)


def test_a_forged_note_of_an_export_skips_nothing(bench: Bench) -> None:
    """Records that an attacker wants left out are not: the note is a link like any other."""

    async def body() -> None:
        await filled(bench)
        (seventh,) = await bench.audit.links("default", 6, 1)
        forged = f"kind = '{EXPORTED}', other = '7:{seventh.mac.hex()}'"
        sql(bench, f"update audit set {forged} where seq = 9 and org = 'default'")
        with pytest.raises(TrailBroken, match="record 9 does not fit"):
            await exported(bench)

    run(body)


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alter", "line", "what"),
    [
        (lambda lines: [*lines[:3], *lines[4:]], 4, "does not fit"),
        (
            lambda lines: [lines[0].replace('"hr"', '"it"').replace("portal", "hr"), *lines[1:]],
            1,
            "does not fit",
        ),
        (lambda lines: [*lines[:5], lines[5][:-9]], 6, "no record"),
        (lambda lines: [*lines, "\n"], 11, "no record"),
        (lambda lines: [*lines[:5], lines[5].replace("accepted", "acce\ufffdpted")], 6, "no record"),
    ],
)
def test_a_file_that_was_altered_is_found(
    bench: Bench, alter: Callable[[list[str]], list[str]], line: int, what: str
) -> None:
    """With the line and what is wrong; a file has no need of the database."""

    async def body() -> None:
        await filled(bench)
        lines = await exported(bench)
        with pytest.raises(BrokenFile, match=what) as found:
            check_files([lines, alter(lines)], KEY)
        assert (found.value.file, found.value.line) == (1, line)
        with pytest.raises(BrokenFile, match="does not fit"):
            check_files([lines], b"another key")

    run(body)


def test_a_head_kept_elsewhere_is_looked_for_in_files(bench: Bench) -> None:
    """It is among the records, or it is not."""

    async def body() -> None:
        await filled(bench, 3)
        lines = (await exported(bench))[:3]
        heads = [each.link for each in (from_text(line.removesuffix("\n")) for line in lines)]
        for each in heads:
            assert check_files([lines], KEY, Head(each.seq, each.mac))[0].broken is None
        for other in (Head(2, heads[2].mac), Head(4, bytes(32))):
            assert check_files([lines], KEY, other)[0].broken is not None
        assert check_files([], KEY) == []

    run(body)


# --- prune ---------------------------------------------------------------------------------------


def test_old_records_that_a_file_holds_are_deleted_and_the_rest_verifies(bench: Bench) -> None:
    """Those older than the days asked for; what is left begins at a base that the trail vouches for."""

    async def body() -> None:
        await filled(bench)
        await filled(bench, 2, "other")
        lines = await exported(bench)
        head = (await bench.audit.heads())["default"]
        done = await pruned(bench, lines, now=NOW + 104.5 * DAY)
        assert [(each.org, each.records, each.base.seq) for each in done] == [
            ("default", 5, 5),
            ("other", 0, 0),
        ]
        found = await verified(bench)
        assert (found.broken, found.base.seq, found.records) == (None, 5, 7)
        assert [each.seq for each in await bench.audit.links("default", 0, 100)] == list(range(6, 13))
        assert (await verified(bench, head)).broken is None
        assert (await verified(bench, found.base)).broken is None
        assert (await verified(bench, START)).broken is None
        with pytest.raises(HeadPruned):
            await verified(bench, Head(4, bytes(32)))
        await filled(bench, 1)
        assert (await verified(bench)).broken is None

    run(body)


def test_pruning_is_in_batches_each_of_which_leaves_a_sound_trail(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each of them the trail verifies, so that it may be cut short anywhere; then it goes on."""

    async def body() -> None:
        monkeypatch.setattr(prune_module, "BATCH", 3)
        bases: list[int] = []

        async def look(seconds: float) -> None:
            found = await verified(bench)
            assert found.broken is None
            bases.append(found.base.seq)
            if len(bases) == 2:
                raise KeyboardInterrupt

        monkeypatch.setattr("passferry.trail.prune.asyncio.sleep", look)
        await filled(bench)
        lines = await exported(bench)
        with pytest.raises(KeyboardInterrupt):
            await pruned(bench, lines)
        done = await pruned(bench, lines)
        assert (bases, done[0].records, done[0].base.seq) == ([3, 6, 9], 4, 10)
        assert (await verified(bench)).broken is None

    run(body)


def test_an_export_after_pruning_goes_on_and_a_second_pruning_joins_it(bench: Bench) -> None:
    """Files that were exported before and after join; of two, only those are needed that reach the base."""

    async def body() -> None:
        await filled(bench)
        first = await exported(bench)
        await pruned(bench, first)
        await filled(bench, 3)
        second = await exported(bench)
        assert seqs(second)[0] == 11
        assert [each.broken for each in check_files([first, second], KEY)] == [None]
        lines: list[str] = []
        await export(bench.audit, KEY, "default", 10, lines.append)
        assert lines[: len(second)] == second
        with pytest.raises(NoSuchRecord):
            await export(bench.audit, KEY, "default", 9, lines.append)
        done = await pruned(bench, second, now=LATER + 1000 * DAY)
        assert done[0].base.seq == seqs(second)[-1]
        assert (await verified(bench)).broken is None

    run(body)


def test_nothing_is_deleted_that_no_file_holds(bench: Bench) -> None:
    """A gap before the file, an altered file, or none at all: all records stay."""

    async def body() -> None:
        await filled(bench)
        lines = await exported(bench)
        before = await bench.audit.links("default", 0, 100)
        mine = [each for each in lines if from_text(each.removesuffix("\n")).org == "default"]
        with pytest.raises(NotExported, match="begin at record 2, the trail at 1"):
            await pruned(bench, mine[1:])
        with pytest.raises(BrokenFile):
            await pruned(bench, [*mine[:9], mine[9].replace("accepted", "outcome")])
        assert await pruned(bench) == []
        assert await bench.audit.links("default", 0, 100) == before
        assert (await pruned(bench, mine[:4]))[0].base.seq == 4

    run(body)


def test_the_young_stay_whatever_is_asked_for(bench: Bench) -> None:
    """Fewer days than a change may live are not taken; from the first that is too young, all stay."""

    async def body() -> None:
        await filled(bench)
        bench.now = NOW - 500 * DAY  # the clock was wrong for a while
        await filled(bench, 2)
        lines = await exported(bench)
        done = await pruned(bench, lines, days=0, now=NOW + (LEAST_DAYS + 3.5) * DAY)
        assert done[0].base.seq == 4

    run(body)


# --- deceit --------------------------------------------------------------------------------------


def forge(seq: int, base: Head, previous: bytes) -> str:
    """A record that says that the trail begins behind ``base``, made with another key."""
    record = Record(PRUNED, NOW, "operator:ann", other=str(base))
    mac = link(b"not the key", previous, "default", seq, record)
    return (
        "insert into audit (org, seq, kind, at, actor, other, mac) values "
        f"('default', {seq}, '{PRUNED}', {NOW}, 'operator:ann', '{base}', x'{mac.hex()}')"
    )


def attacks(links: list[Link]) -> dict[str, tuple[list[str], str]]:
    """What somebody without the audit key does to be rid of the first five records of twelve; what is found.

    The trail was pruned before, up to record 2.
    """
    macs = {each.seq: each.mac for each in links}
    vouch = f"kind = '{PRUNED}'"
    base = Head(5, macs[5])
    oldest = "delete from audit where seq <= 5"
    cut = f"update orgs set head_seq = 10, head_mac = x'{macs[10].hex()}' where name = 'default'"
    return {
        "the oldest deleted": ([oldest], "records 3 to 5 are missing"),
        "the base in the record altered": (
            [oldest, f"update audit set other = '{base}' where {vouch}"],
            "record 12 does not fit the ones before",
        ),
        "a record made for it": ([oldest, forge(13, base, macs[12])], "records 3 to 5"),
        "a record made for it, and the head moved": (
            [
                oldest,
                forge(13, base, macs[12]),
                "update orgs set head_seq = 13, head_mac = (select mac from audit where seq = 13)",
            ],
            "record 13 does not fit the ones before",
        ),
        "another record altered to it": (
            [
                oldest,
                f"update audit set {vouch}, other = '{base}' where seq = 11",
                "delete from audit where seq = 12",
            ],
            "record 11 does not fit",
        ),
        "the record that vouches deleted": (
            ["delete from audit where seq = 12"],
            "records 1 to 2 are missing",
        ),
        "the newest cut off with it": (
            ["delete from audit where seq > 10", cut],
            "records 1 to 2 are missing",
        ),
        "no base": ([f"update audit set other = 'x' where {vouch}"], "record 12 does not say where"),
        "a base beyond itself": (
            [f"update audit set other = '{Head(12, macs[12])}' where {vouch}"],
            "record 12 does not say where",
        ),
        "an old record put back": (
            ["insert into audit (org, seq, kind, at, actor, mac) values ('default', 2, 'x', 1, 'hr', x'00')"],
            "record 2 comes where record 3 belongs",
        ),
        "the base shown as text that is none": (
            [f"update audit set other = cast(x'ff' as text) where {vouch}"],
            "there is something that is no record|record 12 does not say where",  # PostgreSQL stores no such
        ),
    }


ATTACKS = sorted(attacks([Link(number, Record("x", 0.0, "x"), bytes(32)) for number in range(13)]))


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_shortened_trail_is_found(bench: Bench, attack: str) -> None:
    """Whoever has no audit key cannot shorten a trail at its old end, neither by hand nor in pruning's name.

    Nor does pruning or exporting go on with such a trail: nothing is laundered.
    """

    async def body() -> None:
        await filled(bench)
        lines = await exported(bench)
        await prune(bench.audit, KEY, lambda: iter([lines]), ["default"], 100, "me", At(NOW + 101.5 * DAY))
        links = await bench.audit.links("default", 0, 100)
        assert [each.seq for each in links] == list(range(3, 13))
        assert (await verified(bench)).broken is None
        statements, what = attacks(links)[attack]
        sql(bench, *statements)
        found = await verified(bench)
        assert found.broken is not None
        assert re.search(what, found.broken)
        with pytest.raises(TrailBroken):
            await pruned(bench, lines)

    run(body)


def test_a_record_cannot_be_altered_and_then_pruned_away(bench: Bench) -> None:
    """What is stored is compared with the file, even where both would verify: as after a restored back-up."""

    async def body() -> None:
        await filled(bench)
        lines = await exported(bench)
        sql(bench, "update audit set user = 'other@example.com' where seq = 3")
        with pytest.raises(TrailBroken, match="record 3"):
            await pruned(bench, lines)

    run(body)


def test_a_trail_of_another_past_than_the_files_is_not_pruned(bench: Bench) -> None:
    """After a back-up was restored the trail goes on otherwise than the files say."""

    async def body() -> None:
        await filled(bench, 3)
        head = (await bench.audit.heads())["default"]
        await filled(bench, 2)
        lines = await exported(bench)
        mac = head.mac.hex()
        sql(
            bench,
            "delete from audit where seq > 3",
            f"update orgs set head_seq = 3, head_mac = x'{mac}' where name = 'default'",
        )
        bench.now += 1
        await filled(bench, 4)
        assert (await verified(bench)).broken is None
        with pytest.raises(TrailMoved):
            await pruned(bench, lines)
        assert [each.seq for each in await bench.audit.links("default", 0, 100)] == [1, 2, 3, 4, 5, 6, 7]

    run(body)


def test_verifying_goes_on_beside_pruning(bench: Bench) -> None:
    """Records that are pruned under its hands are not called missing."""

    async def body() -> None:
        await filled(bench)
        lines = await exported(bench)
        store: Any = bench.audit
        real, calls = store.links, []

        async def links(org: str, after: int, limit: int) -> list[Link]:
            calls.append(after)
            found: list[Link] = await real(org, after, 4)
            if len(calls) == 1:
                await pruned(bench, lines)
            return found

        store.links = links
        found = await verified(bench)
        del store.links
        assert (found.broken, found.base.seq) == (None, 10)
        assert calls.count(0) == 3  # verified anew, once; and before pruning

    run(body)
