"""Backlogs in virtual time: what a change costs, how much of the quota is used, what pages must not do."""

import asyncio
import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from campaign.drain import Backlog, Drain, drain
from campaign.plans import BAD_DAY, MODES
from campaign.virtual_time import EPOCH, run
from campaign.world import Plan, World, world
from passferry.domain.change import State
from passferry.domain.outcome import Kind, Outcome
from passferry.domain.paging import FRESH, MOST_AHEAD, SAMPLE
from passferry.domain.password import Password
from passferry.domain.scim import User
from passferry.pages import FAILED
from passferry.ports import Page
from passferry.simulator.directory import GENESYS
from simulator.caller import Caller

THREE_QUARTERS = Backlog(users=400, due=300)


@pytest.mark.parametrize("mode", MODES)
def test_in_bulk_a_change_costs_a_write_and_its_part_of_a_page(mode: str) -> None:
    """Three users of four are due: 16 pages serve them, by a write each, without one 429; and four proofs."""
    it = run(drain(replace(THREE_QUARTERS, mode=mode)))
    assert it.applied == it.changes == 300
    assert it.requests <= 300 + 16 + 4 + 1
    assert it.throttled == 0


def test_a_burst_that_is_still_coming_is_served_by_pages_too() -> None:
    """Who came after their page was read are served by another look at it, and not by one at each of them."""
    it = run(drain(Backlog(users=1600, due=1200, within=4.0)))
    assert (it.applied, it.throttled) == (1200, 0)
    assert it.each <= 1.07


def test_a_name_of_a_page_saves_its_look_up() -> None:
    """References by userName cost no more than those by id."""
    it = run(drain(replace(THREE_QUARTERS, by_id=None)))
    assert it.applied == 300
    assert it.requests <= 300 + 16 + 4 + 1


@pytest.mark.parametrize(
    ("switches", "least"),
    [
        ({}, 0.99),
        ({"window_kind": "sliding"}, 0.99),
        ({"rate_headers": "always"}, 0.99),
        ({"rate_headers": "never"}, 0.95),
        ({"latency": 1.0}, 0.99),
    ],
)
def test_while_there_is_work_the_quota_is_used(switches: dict[str, Any], least: float) -> None:
    """By pages, over whole windows of the target; 0 × 429."""
    it = run(drain(Backlog(users=1500, due=1000, mode="native", switches=switches)))
    assert it.applied == 1000
    assert it.throttled == 0
    assert it.used >= least


def test_without_pages_the_quota_is_used_as_well() -> None:
    """Fewer are due than the list has pages: two requests a change, one after the other."""
    it = run(drain(Backlog(users=20_000, due=600)))
    assert it.listed <= 1
    assert it.each <= 2.0 + 2 / 600
    assert it.used >= 0.99
    assert it.throttled == 0


def test_few_changes_cost_two_requests_each() -> None:
    """A small burst reads no page, whatever the size of the org."""
    for users in (60, 4000):
        it = run(drain(Backlog(users=users, due=40)))
        assert (it.requests, it.listed, it.applied) == (80, 0, 40)


@pytest.mark.parametrize("rate", [12, 60, 3000])
def test_the_quota_decides_how_much_of_a_page_is_used(rate: int) -> None:
    """Nothing is used after 15 s; where a page serves too few users, there are no pages."""
    it = run(drain(Backlog(users=200, due=150, rate=rate)))
    assert it.applied == 150
    assert it.throttled == 0
    assert it.listed <= 1 if rate == 12 else it.each <= (1.3 if rate == 60 else 1.1)


async def _started(it: World, due: int, **how: Any) -> None:
    for number, user in enumerate(it.users[:due]):
        await it.push(user, f"N3w-Passw0rd!{number}", **how)


def _plan(**fields: Any) -> Plan:
    values: dict[str, Any] = {"users": 200, "directory": 260, "crashes": 0, "changes": 0, "verifier": False}
    return Plan(31, **(values | fields))


def _read_before(it: World) -> dict[str, tuple[str, float]]:
    """How each write's user was read last before it, and how long before."""
    found: dict[str, tuple[str, float]] = {}
    read: dict[str, float] = {}
    listed = float("-inf")
    for entry in it.simulator.journal():
        if entry.path.endswith("/users"):
            listed = entry.time
        elif entry.method == "GET":
            read[entry.path] = entry.time
        elif entry.method == "PUT":
            alone = read.get(entry.path, float("-inf"))
            found[entry.path] = (
                ("alone", entry.time - alone) if alone > EPOCH else ("page", entry.time - listed)
            )
    return found


async def _throttled_in_between() -> tuple[list[State], dict[str, tuple[str, float]], int]:
    async with world(_plan(switches={"latency": 0.06})) as it:
        await _started(it, 200, by_id=True)
        await asyncio.sleep(8.0)
        it.simulator.next("throttled_42")
        changes = await it.settle(2.0)
        return [one.state for one in changes], _read_before(it), it.simulator.stats()["requests"]


def test_nothing_is_written_by_what_a_page_showed_15_s_ago() -> None:
    """Whom a wait that the target asks for holds up is read anew."""
    states, reads, _ = run(_throttled_in_between())
    assert set(states) == {State.APPLIED}
    kinds = Counter(kind for kind, _ in reads.values())
    assert kinds["page"] >= 100
    assert kinds["alone"] >= 5
    assert max(age for kind, age in reads.values() if kind == "page") <= FRESH


async def _reduced(mode: str) -> tuple[Drain, int]:
    it = await drain(Backlog(users=200, due=150, mode=mode, switches={"list_users": "reduced"}))
    return it, it.listed


def test_a_page_that_shows_less_than_a_read_feeds_no_put() -> None:
    """Attributes would be cleared. One read found out; for the other modes the version is enough."""
    it, listed = run(_reduced("scim-put"))
    assert it.applied == 150
    assert listed == 1
    it, listed = run(_reduced("scim-patch"))
    assert it.applied == 150
    assert listed == 8


async def _some_without_skills() -> tuple[list[str], int]:
    plan = _plan(switches={"list_users": "without-skills"}, verifier=False)
    async with world(plan) as it:
        for number, (user_id, name) in enumerate(it.users):
            kept = json.loads(it.before[name])[GENESYS]["externalIds"]
            few = {GENESYS: {"externalIds": kept}}
            it.simulator.edit(user_id, few if number % 12 else {"title": "Agent of many skills" * 20})
            it.before[name] = it.simulator.profile_text(name).decode()
        await _started(it, 200, by_id=True)
        return await it.broken_promises(), _listed(it)


def _listed(it: World) -> int:
    return sum(entry.path.endswith("/users") for entry in it.simulator.journal())


def test_a_user_whom_the_list_happens_to_show_whole_proves_nothing() -> None:
    """Few have skills, which the list leaves out; they are found by what else they have, and lose nothing."""
    broken, listed = run(_some_without_skills())
    assert broken == []
    assert listed == 1


def _unlike(what: str, page: Page) -> Page:
    """A page of a list of which pages can serve nobody."""
    if what == "no versions":
        return replace(page, users=[], others=page.users)
    if what == "other users":
        return replace(page, users=[], others=[])
    return replace(page, users=[replace(user, version=f"{user.version}-gzip") for user in page.users])


async def _in_vain(what: str) -> tuple[set[State], int, int]:
    async with world(_plan(users=300, directory=700, switches={"latency": 0.06})) as it:
        target = it.gateway.deliveries["default"]._t.target
        page = target.page

        async def unlike(start: int, priority: int) -> Any:
            got = await page(start, priority)
            assert isinstance(got, Page)
            return _unlike(what, got)

        target.page = unlike  # type: ignore[method-assign]
        await _started(it, 300, by_id=True)
        changes = await it.settle(2.0)
        return {change.state for change in changes}, _listed(it), _api_requests(it)


@pytest.mark.parametrize(
    ("what", "pages"), [("no versions", SAMPLE), ("other users", SAMPLE), ("other versions", FAILED)]
)
def test_pages_that_serve_nobody_are_given_up(what: str, pages: int) -> None:
    """However many are due: ten pages in vain, or three proofs, and everybody is read singly."""
    states, listed, requests = run(_in_vain(what))
    assert states == {State.APPLIED}
    assert listed <= pages + MOST_AHEAD
    assert requests <= 2 * 300 + listed + FAILED


async def _lost_while_listed(mode: str) -> list[str | None]:
    async with world(_plan(write=mode, switches={"latency": 0.06})) as it:
        await _started(it, 200, by_id=True)
        await asyncio.sleep(6.0)
        it.simulator.next("lost_answer", method="PUT" if mode == "scim-put" else "POST")
        await asyncio.sleep(20.0)
        changes = await it.stores.lookup.changes(limit=1000)
        return [change.doubt.version for change in changes if change.doubt is not None]


def test_without_if_match_a_pages_version_is_no_evidence() -> None:
    """It may have been an older one; a PUT would have been refused then."""
    assert run(_lost_while_listed("native")) == [None]
    assert [version is None for version in run(_lost_while_listed("scim-put"))] == [False]


async def _profiles(switches: dict[str, Any], faults: dict[str, float], mode: str) -> list[str]:
    """``native`` has no proof after an answer to a write by a page was lost."""
    plan = _plan(write=mode, switches=switches, faults=faults, crashes=1)
    async with world(plan) as it:
        await _started(it, 200)
        await asyncio.sleep(5.0)
        await it.crash()
        await asyncio.sleep(5.0)
        for number, user in enumerate(it.users[:30]):
            await it.push(user, f"N3wer-Passw0rd!{number}")
        return await it.broken_promises(no_proof=mode == "native")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "switches", [{}, {"list_users": "reduced"}, {"if_match": "ignored"}, {"rate_headers": "never"}], ids=str
)
def test_a_bad_day_with_pages_breaks_no_promise(switches: dict[str, Any], mode: str) -> None:
    """Faults, a crash in the midst of a pass, and newer passwords for users whose page has passed."""
    assert run(_profiles(switches, BAD_DAY, mode)) == []


async def _moved() -> tuple[Counter[State], list[str]]:
    async with world(_plan(switches={"latency": 0.06})) as it:
        await _started(it, 200, by_id=True)
        await asyncio.sleep(6.0)
        gone = {user_id for user_id, _ in it.users[3:200:20]}
        for user_id in gone:
            it.simulator.delete(user_id)  # whoever comes after moves to the place before
        changes = await it.settle(2.0)
        left = [c.user.value for c in changes if c.state is not State.APPLIED and c.user.value not in gone]
        return Counter(change.state for change in changes), left


def test_users_who_move_between_pages_are_not_missed() -> None:
    """Deleted users shift the list in the midst of a pass; whoever falls through is read singly."""
    states, left = run(_moved())
    assert left == []
    assert states[State.APPLIED] >= 190


async def _two_of_a_name() -> tuple[list[str | None], list[str]]:
    async with world(_plan(users=190)) as it:
        lost, taker = it.users[150], it.users[40]
        await _started(it, 190, by_id=False)
        it.simulator.edit(lost[0], {"userName": "renamed@example.com"})
        it.simulator.edit(taker[0], {"userName": lost[1]})
        await it.push(taker, "N3w-Passw0rd!taker", by_id=True)
        changes = await it.settle(0.5)
        codes = [c.error.code if c.error else None for c in changes if c.state is not State.APPLIED]
        return codes, [write.password for write in it.simulator.writes(lost[0])]


def test_a_page_brings_a_name_to_nobody_but_who_has_it() -> None:
    """The user that had the name when the change was accepted, and has another now, gets nothing."""
    codes, writes = run(_two_of_a_name())
    assert writes == []
    assert set(codes) <= {"user.unknown", "superseded", None}


async def _conflicting() -> tuple[list[str], int]:
    async with world(_plan(switches={"latency": 0.06})) as it:
        target = it.gateway.deliveries["default"]._t.target
        page = target.page

        async def stale(start: int, priority: int) -> Any:
            got = await page(start, priority)
            assert isinstance(got, Page)
            if start > 1:
                for user in got.users:
                    it.simulator.touch(user.id)
            return got

        target.page = stale  # type: ignore[method-assign]
        await _started(it, 200, by_id=True)
        return await it.broken_promises(), _listed(it)


def test_a_list_that_lags_behind_is_given_up() -> None:
    """Three writes in a row meet a newer version: from then on everybody is read singly."""
    broken, listed = run(_conflicting())
    assert broken == []
    assert listed <= 6


async def _people_flood(share: float) -> tuple[list[float], float]:
    async with world(_plan(users=300, directory=400, switches={"latency": 0.06})) as it:
        bulk, people = it.users[:100], it.users[100:]
        for number, user in enumerate(bulk):
            await it.push(user, f"N3w-Passw0rd!{number}", by_id=True, bulk=True)
        await asyncio.sleep(5.0)
        started = it.clock.now()
        for number, user in enumerate(people[: int(share * 200)]):
            await it.push(user, f"N3w-Passw0rd!p{number}", by_id=True)
        changes = await it.settle(2.0)
        waits = [c.updated_at - c.accepted_at for c in changes if not c.bulk]
        assert {change.state for change in changes} == {State.APPLIED}
        last = max(change.updated_at for change in changes if not change.bulk)
        during = [c for c in changes if c.bulk and started < c.updated_at <= last]
        return waits, len(during) / (last - started)


def test_one_person_waits_for_nobody_of_bulk() -> None:
    """In the midst of a pass for bulk: read and written like alone, but for the request under way."""
    waits, _ = run(_people_flood(0.005))
    assert max(waits) <= 1.5


def test_bulk_goes_on_while_people_flood() -> None:
    """It keeps a tenth of the quota, a request every two seconds."""
    waits, bulk = run(_people_flood(1.0))
    assert 0.15 <= bulk <= 1.0
    assert max(waits) <= 200 * 2 / 5 + 20


async def _shared() -> tuple[int, int, int]:
    switches = {"rate_per": "client", "latency": 0.06, "scim_rate": 0}
    async with world(_plan(users=600, directory=20_000, switches=switches)) as it:
        await _started(it, 600, by_id=True)
        other, answers = Caller(it.simulator), list[int]()
        other.fetch_token()

        async def spend() -> None:
            while True:
                await asyncio.sleep(0.6)
                answers.append(other.send("GET", "/api/v2/tokens/me").status)

        spending = asyncio.create_task(spend())
        await asyncio.sleep(65.0)
        refused, sent, began = it.simulator.stats()["rateLimited"], len(answers), _requests(it)
        await asyncio.sleep(180.0)
        spending.cancel()
        theirs = answers[sent:].count(429)
        return it.simulator.stats()["rateLimited"] - refused - theirs, theirs, _requests(it) - began


def _requests(it: World) -> int:
    return it.gateway.deliveries["default"].gate.requests


def test_others_on_the_same_limit_are_left_what_they_spend() -> None:
    """Another program with the same client sends 100 a minute: no 429 for us, hardly one for it."""
    ours_refused, theirs_refused, ours = run(_shared())
    assert ours_refused == 0
    assert theirs_refused <= 9
    assert ours >= 0.95 * 3 * 200


async def _changing(first: int, then: int) -> tuple[int, int]:
    async with world(_plan(users=600, directory=20_000, switches={"rate": first, "latency": 0.06})) as it:
        await _started(it, 600, by_id=True)
        await asyncio.sleep(75.0)
        it.simulator.set(rate=then)
        await asyncio.sleep(75.0)
        refused, began = it.simulator.stats()["rateLimited"], _requests(it)
        await asyncio.sleep(120.0)
        assert it.simulator.stats()["rateLimited"] == refused
        return refused, _requests(it) - began


@pytest.mark.parametrize(("first", "then"), [(300, 90), (90, 200)])
def test_a_limit_that_changes_while_running_is_followed(first: int, then: int) -> None:
    """At the price of what was under way at that moment; then all of the new one is used."""
    refused, sent = run(_changing(first, then))
    assert refused <= 5
    assert 0.98 * 2 * then <= sent <= 2 * then + 8


async def _below(headers: str) -> tuple[int, int]:
    switches = {"scim_rate": 60, "latency": 0.06, "rate_headers": headers}
    async with world(_plan(users=300, directory=20_000, switches=switches)) as it:
        await _started(it, 300, by_id=True)
        await asyncio.sleep(330.0)
        refused, began = it.simulator.stats()["rateLimited"], _requests(it)
        await asyncio.sleep(180.0)
        assert it.simulator.stats()["rateLimited"] == refused
        return refused, _requests(it) - began


@pytest.mark.parametrize("headers", ["not-on-429", "always", "never"])
def test_a_limit_of_scim_alone_below_the_stated_one_is_learnt(headers: str) -> None:
    """Its first 429 comes while the headers show room; from the second time on none comes, and it is used."""
    refused, sent = run(_below(headers))
    assert 1 <= refused <= 8
    assert sent >= 0.93 * 3 * 60


async def _told_to_wait(fault: str, path: str) -> tuple[float, set[State]]:
    async with world(_plan(users=5)) as it:
        it.simulator.next(fault, path=path)
        started = it.clock.now()
        await _started(it, 5, by_id=True)
        changes = await it.settle(3.0)
        return max(change.updated_at for change in changes) - started, {change.state for change in changes}


@pytest.mark.parametrize(
    ("fault", "path", "least", "most"),
    [
        ("throttled_181", "*", 181.0, 200.0),
        ("throttled_date", "*", 5.0, 120.0),
        ("token_throttled", "*", 1.0, 90.0),
    ],
)
def test_a_wait_is_kept_however_it_is_told(fault: str, path: str, least: float, most: float) -> None:
    """Seconds, a date, or the token endpoint's own way."""
    waited, states = run(_told_to_wait(fault, path))
    assert states == {State.APPLIED}
    assert least <= waited <= most


def _api_requests(it: World) -> int:
    return sum("/oauth/" not in entry.path for entry in it.simulator.journal())


async def _asked_to_wait(by: float) -> set[State]:
    async with world(_plan(users=80)) as it:
        write = it.gateway.deliveries["default"]._t.target.write

        async def throttled(user: User, password: Password) -> Outcome:
            it.gateway.deliveries["default"]._t.target.write = write  # type: ignore[method-assign]
            return Outcome(Kind.THROTTLED, "too.many.requests", retry_after=3 * 3600.0)

        it.gateway.deliveries["default"]._t.target.write = throttled  # type: ignore[method-assign]
        await _started(it, 80, by_id=True)
        await asyncio.sleep(60.0)
        sent = _api_requests(it)
        it.clock.wrong_by = by
        await asyncio.sleep(60.0)
        waits = {each.user.value for each in await it.stores.lookup.changes() if each.state is State.PENDING}
        await it.push(next(user for user in it.users if user[0] in waits), "N3w-Passw0rd!again", by_id=True)
        await asyncio.sleep(60.0)
        await it.crash()
        await asyncio.sleep(3 * 3600.0 - 300.0)
        assert _api_requests(it) == sent
        await asyncio.sleep(300.0)
        return {change.state for change in await it.settle(0.1)}


@pytest.mark.parametrize("by", [0.0, -86400.0])
def test_a_wait_of_hours_outlives_the_process(by: float) -> None:
    """Nothing is sent before it is over, and everything then; also when the clock is set back meanwhile."""
    assert run(_asked_to_wait(by)) == {State.APPLIED, State.SUPERSEDED}
