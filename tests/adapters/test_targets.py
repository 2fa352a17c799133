"""What the port Target promises, held by every adapter and write mode against the stand-in."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx2
import pytest

from passferry.adapters.genesys import GenesysTarget
from passferry.adapters.http_client import http_client
from passferry.adapters.oauth import Tokens
from passferry.adapters.scim_target import ScimTarget
from passferry.domain.outcome import Kind, Outcome
from passferry.domain.password import Password
from passferry.domain.scim import User
from passferry.ports import BULK_LIST, BULK_READ, READ, Page, Target
from passferry.simulator import InProcessTransport, Settings, Simulator

PASSWORD = Password('Canary-"\\é-Pass7!')
HOST = "https://api.example"
T = TypeVar("T")

GENESYS = ["genesys scim-put", "genesys scim-patch", "genesys native"]
SCIM = ["scim scim-put", "scim scim-patch"]
every_target = pytest.mark.parametrize("name", GENESYS + SCIM)
every_scim_write = pytest.mark.parametrize("name", [*GENESYS[:2], *SCIM])


class StandingClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.time = 1_795_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


@dataclass
class WrittenGate:
    """A gate that lets everything through and writes it down."""

    slots: list[int] = field(default_factory=list)
    answers: list[tuple[int, Mapping[str, str]]] = field(default_factory=list)
    at_second_slot: Callable[[], None] = lambda: None

    async def slot(self, priority: int) -> None:
        self.slots.append(priority)
        if len(self.slots) == 2:
            self.at_second_slot()

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        self.answers.append((status, headers))


@dataclass
class Rig:
    """A target over the stand-in, in process."""

    simulator: Simulator
    target: Target
    gate: WrittenGate
    tokens: Tokens
    clock: StandingClock

    async def user(self, name: str = "agent001@example.com") -> User:
        """The user as the target reads it."""
        user = await self.target.read(self.simulator.user(name).id)
        assert isinstance(user, User), user
        return user

    def requests(self) -> list[tuple[str, int | None]]:
        """Method and status of the API requests so far."""
        return [(e.method, e.status) for e in self.simulator.journal() if "/oauth/" not in e.path]


async def make_rig(name: str, users: int = 60, **switches: Any) -> Rig:
    """A rig for the target named ``name``, its token fetched."""
    kind, mode = name.split()
    clock, gate = StandingClock(), WrittenGate()
    simulator = Simulator(Settings.calm(rate=100_000, **switches), clock=clock.now, users=users)
    client = http_client(InProcessTransport(simulator))
    tokens = Tokens(client, HOST, "simulator", Password("simulator-secret"), clock)
    token = await tokens.get()
    target: Target
    if kind == "genesys":
        target = GenesysTarget(HOST, mode, tokens, client, gate, 10.0, clock)
    else:
        target = ScimTarget(f"{HOST}/api/v2/scim/v2/", Password(token), mode, client, gate, 10.0, clock)
    return Rig(simulator, target, gate, tokens, clock)


def run(body: Callable[[], Awaitable[T]]) -> T:
    """Run ``body`` within a bounded time."""

    async def bounded() -> T:
        async with asyncio.timeout(30):
            return await body()

    return asyncio.run(bounded())


# --- find ------------------------------------------------------------------------------------


@every_target
def test_a_user_is_found_by_name_whatever_its_case(name: str) -> None:
    """The user found is the whole one, the very user that a read by id gives."""

    async def body() -> None:
        rig = await make_rig(name)
        found = await rig.target.find("Agent002@EXAMPLE.com")
        assert isinstance(found, User)
        assert (found.user_name, found.active) == ("agent002@example.com", True)
        read = await rig.target.read(found.id)
        assert isinstance(read, User)
        assert (read.raw, read.version) == (found.raw, found.version)

    run(body)


@every_target
@pytest.mark.parametrize("values", ["either", "quoted", "unquoted"])
def test_the_spelling_of_filter_values_is_learnt(name: str, values: str) -> None:
    """Whichever spelling the target takes, users are found, and after the first by one request each."""

    async def body() -> None:
        rig = await make_rig(name, filter_values=values)
        assert isinstance(await rig.target.find("agent001@example.com"), User)
        before = len(rig.gate.slots)
        for number in range(2, 6):
            assert isinstance(await rig.target.find(f"agent00{number}@example.com"), User)
        assert len(rig.gate.slots) - before == 4
        assert await rig.target.find("nobody@example.com") is None
        assert len(rig.gate.slots) - before <= 5

    run(body)


@every_target
def test_nobody_is_none(name: str) -> None:
    """A name that no user has gives None, names with quotes and spaces too."""

    async def body() -> None:
        rig = await make_rig(name)
        for nobody in ("nobody@example.com", 'a" or active eq true', "a b", "é\\", "x eq y"):
            assert await rig.target.find(nobody) is None

    run(body)


# --- read ------------------------------------------------------------------------------------


@every_target
def test_an_unknown_id_blocks_the_change(name: str) -> None:
    """404 is user.unknown; an id that would change the path is never asked for."""

    async def body() -> None:
        rig = await make_rig(name)
        outcome = await rig.target.read("00000000-0000-0000-0000-000000000000")
        assert isinstance(outcome, Outcome)
        assert (outcome.kind, outcome.code) == (Kind.BLOCKED, "user.unknown")
        assert outcome.correlation_id
        count = len(rig.gate.slots)
        for odd in ("", ".", ".."):
            assert await rig.target.read(odd) == Outcome(Kind.BLOCKED, "user.unknown")
        assert len(rig.gate.slots) == count
        slash = await rig.target.read("../users?x=1#")
        assert isinstance(slash, Outcome)
        assert slash.code == "user.unknown"

    run(body)


@every_target
def test_an_inactive_user_reads_as_inactive(name: str) -> None:
    """The user's state comes along, for whoever decides about it."""

    async def body() -> None:
        rig = await make_rig(name)
        rig.simulator.edit("agent003@example.com", {"active": False})
        assert (await rig.user("agent003@example.com")).active is False

    run(body)


# --- write -----------------------------------------------------------------------------------


@every_target
def test_a_write_sets_the_password_and_nothing_else(name: str) -> None:
    """The password arrives as given, by one request, and every attribute keeps its very text."""

    async def body() -> None:
        rig = await make_rig(name)
        odd = {"x-vendor": {"empty": [], "big": 10**30, "none": None, "text": "\u2028é"}, "title": ""}
        rig.simulator.edit("agent001@example.com", odd)
        for number in range(1, 25):
            agent = f"agent{number:03}@example.com"
            user = await rig.user(agent)
            before = rig.simulator.profile_text(agent)
            count = len(rig.requests())
            outcome = await rig.target.write(user, PASSWORD)
            assert (outcome.kind, outcome.code) == (Kind.APPLIED, "")
            assert len(rig.requests()) - count == 1
            assert rig.simulator.profile_text(agent) == before
            assert [write.password for write in rig.simulator.writes(agent)] == [PASSWORD.reveal()]

    run(body)


@every_scim_write
def test_a_write_states_the_new_version(name: str) -> None:
    """After a write that answers with the user, its version is the one that a read then shows."""

    async def body() -> None:
        rig = await make_rig(name)
        old = await rig.user()
        outcome = await rig.target.write(old, PASSWORD)
        assert outcome.version == (await rig.user()).version
        assert outcome.version != old.version

    run(body)


@every_scim_write
@pytest.mark.parametrize("stale", ["409", "400", "412"])
def test_a_version_that_moved_is_a_conflict(name: str, stale: str) -> None:
    """In all three documented forms; nothing is written."""

    async def body() -> None:
        rig = await make_rig(name, stale_if_match=stale)
        user = await rig.user()
        rig.simulator.touch(user.user_name)
        outcome = await rig.target.write(user, PASSWORD)
        assert (outcome.kind, outcome.code) == (Kind.CONFLICT, "version.conflict")
        assert rig.simulator.writes(user.user_name) == []

    run(body)


@every_target
@pytest.mark.parametrize("shape", ["error-body", "scim-error"])
@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("Ab1!", "password.too.short"),
        ("ABCDEF1!", "password.not.enough.lowercase"),
        ("abcdef1!", "password.not.enough.uppercase"),
        ("Abcdefg!", "password.not.enough.digits"),
        ("Abcdefg1", "password.not.enough.specials"),
    ],
)
def test_a_refused_password_has_the_targets_code(name: str, shape: str, password: str, code: str) -> None:
    """The documented code, in either error shape, with the id under which the target logged it."""

    async def body() -> Outcome:
        rig = await make_rig(name, users=2, scim_refusal=shape)
        return await rig.target.write(await rig.user(), Password(password))

    outcome = run(body)
    assert (outcome.kind, outcome.code) == (Kind.REFUSED, code)


@every_target
@pytest.mark.parametrize("shape", ["error-body", "scim-error"])
def test_a_reused_password_is_told(name: str, shape: str) -> None:
    """The code that resolves doubts is recognised in both error shapes."""

    async def body() -> None:
        rig = await make_rig(name, users=2, scim_refusal=shape)
        assert (await rig.target.write(await rig.user(), PASSWORD)).kind is Kind.APPLIED
        outcome = await rig.target.write(await rig.user(), PASSWORD)
        assert (outcome.kind, outcome.code) == (Kind.REFUSED, "password.reused")

    run(body)


@every_target
@pytest.mark.parametrize("shape", ["error-body", "scim-error"])
@pytest.mark.parametrize("text", ["with-time", "plain"])
def test_a_password_that_is_too_young_says_when(name: str, shape: str, text: str) -> None:
    """Not now, with the time where the target's text has it."""

    async def body() -> None:
        rig = await make_rig(name, users=2, minimum_age_seconds=3600, scim_refusal=shape, too_young_text=text)
        assert (await rig.target.write(await rig.user(), PASSWORD)).kind is Kind.APPLIED
        outcome = await rig.target.write(await rig.user(), Password("Other-Pass8!"))
        assert (outcome.kind, outcome.code) == (Kind.NOT_NOW, "password.too.young")
        expected = rig.clock.time + 3600 if text == "with-time" else None
        assert outcome.not_before == (pytest.approx(expected, abs=1) if expected else None)

    run(body)


WRITE_FAULTS = [
    ("throttled_1", Kind.THROTTLED, "too.many.requests", 1.0, 0),
    ("throttled_42", Kind.THROTTLED, "too.many.requests", 42.0, 0),
    ("throttled_181", Kind.THROTTLED, "too.many.requests", 181.0, 0),
    ("throttled_silent", Kind.THROTTLED, "too.many.requests", 60.0, 0),
    ("throttled_date", Kind.THROTTLED, "too.many.requests", 5.0, 0),
    ("unavailable", Kind.UNKNOWN, "target.unavailable", 2.0, 0),
    ("bad_gateway", Kind.UNKNOWN, "target.unavailable", None, 0),
    ("gateway_timeout", Kind.UNKNOWN, "target.unavailable", None, 1),
    ("server_error", Kind.UNKNOWN, "target.unavailable", None, 0),
    ("empty_body", Kind.UNKNOWN, "target.unavailable", None, 0),
    ("error_without_code", Kind.REFUSED, "", None, 0),
    ("empty_success", Kind.APPLIED, "", None, 1),
    ("reset_before", Kind.UNKNOWN, "no.answer", None, 0),
    ("reset_after", Kind.UNKNOWN, "no.answer", None, 1),
    ("token_dies", Kind.UNAUTHORIZED, "bad.credentials", None, 0),
    ("vanished", Kind.BLOCKED, "user.unknown", None, 0),
    ("ip_not_authorized", Kind.ORG_DOWN, "ip.not.authorized", None, 0),
]


@every_target
@pytest.mark.parametrize(("fault", "kind", "code", "wait", "writes"), WRITE_FAULTS)
def test_a_write_that_meets_a_fault_is_sent_once_and_judged(
    name: str, fault: str, kind: Kind, code: str, wait: float | None, writes: int
) -> None:
    """Each misbehaviour has its outcome; in doubt it is unknown; never is the write sent again."""

    async def body() -> None:
        rig = await make_rig(name, users=2)
        user = await rig.user()
        count = len(rig.requests())
        rig.simulator.next(fault)
        outcome = await rig.target.write(user, PASSWORD)
        assert (outcome.kind, outcome.code) == (kind, code)
        if kind in (Kind.THROTTLED, Kind.UNKNOWN):
            assert outcome.retry_after == (pytest.approx(wait, abs=1) if wait else None)
        assert len(rig.requests()) - count == 1
        assert len(rig.simulator.writes(user.user_name)) == writes
        assert rig.simulator.stats()["tokenRequests"] == 1

    run(body)


READ_FAULTS = [
    ("throttled_42", Kind.THROTTLED, "too.many.requests"),
    ("unavailable", Kind.UNAVAILABLE, "target.unavailable"),
    ("bad_gateway", Kind.UNAVAILABLE, "target.unavailable"),
    ("gateway_timeout", Kind.UNAVAILABLE, "target.unavailable"),
    ("empty_body", Kind.UNAVAILABLE, "target.unavailable"),
    ("error_without_code", Kind.UNAVAILABLE, "target.answer.unusable"),
    ("reset_before", Kind.UNAVAILABLE, "target.unavailable"),
    ("ip_not_authorized", Kind.ORG_DOWN, "ip.not.authorized"),
]


@every_target
@pytest.mark.parametrize(("fault", "kind", "code"), READ_FAULTS)
def test_a_read_that_meets_a_fault_is_judged(name: str, fault: str, kind: Kind, code: str) -> None:
    """A read is never in doubt, and no fault ends a change."""

    async def body() -> None:
        rig = await make_rig(name, users=2)
        rig.simulator.next(fault)
        outcome = await rig.target.read(rig.simulator.user("agent001@example.com").id)
        assert isinstance(outcome, Outcome)
        assert (outcome.kind, outcome.code) == (kind, code)

    run(body)


@every_target
def test_a_missing_permission_and_a_forbidden_division_differ(name: str) -> None:
    """Without the permission the org is down; without the division one user is blocked."""

    async def body() -> None:
        rig = await make_rig(name)
        user = await rig.user()
        rig.simulator.set(forbidden_division=rig.simulator.user(user.id).division)
        assert (await rig.target.write(user, PASSWORD)).kind is Kind.BLOCKED
        rig.simulator.set(forbidden_division="", missing_permissions=("directory:user:setPassword",))
        outcome = await rig.target.write(user, PASSWORD)
        assert outcome.kind is Kind.ORG_DOWN
        assert outcome.code.startswith("missing.")

    run(body)


# --- the gate and the token ------------------------------------------------------------------


@every_target
def test_reads_ask_the_gate_and_a_write_does_not(name: str) -> None:
    """A read has priority 1; the write's slot is its caller's; every answer is told."""

    async def body() -> None:
        rig = await make_rig(name)
        user = await rig.user()
        await rig.target.find(user.user_name)
        assert rig.gate.slots == [1, 1]
        await rig.target.write(user, PASSWORD)
        assert rig.gate.slots == [1, 1]
        assert len(rig.gate.answers) == 3
        for _, headers in rig.gate.answers:
            assert "inin-ratelimit-allowed" in headers
            assert "date" in headers

    run(body)


@pytest.mark.parametrize("name", GENESYS)
def test_a_dead_token_costs_a_read_one_new_token_and_one_retry(name: str) -> None:
    """401 on a read: the token is dropped, a new one fetched, the read repeated at the gate's pace."""

    async def body() -> None:
        rig = await make_rig(name)
        rig.simulator.revoke_tokens()
        await rig.user()
        assert rig.simulator.stats()["tokenRequests"] == 2
        assert [status for _, status in rig.requests()] == [401, 200]
        assert rig.gate.slots == [1, 1]

    run(body)


@pytest.mark.parametrize("name", GENESYS)
def test_a_second_401_is_the_orgs_trouble(name: str) -> None:
    """A fresh token that is not accepted either means that the org cannot be reached; no loop."""

    async def body() -> None:
        rig = await make_rig(name)
        user = rig.simulator.user("agent001@example.com")
        rig.simulator.next("token_dies", count=10)
        outcome = await rig.target.read(user.id)
        assert isinstance(outcome, Outcome)
        assert (outcome.kind, outcome.code) == (Kind.ORG_DOWN, "bad.credentials")
        assert [status for _, status in rig.requests()] == [401, 401]

    run(body)


@pytest.mark.parametrize("name", SCIM)
def test_a_fixed_token_that_is_not_accepted_is_not_tried_again(name: str) -> None:
    """Nothing can renew it: one request, and the org is down."""

    async def body() -> None:
        rig = await make_rig(name)
        user = rig.simulator.user("agent001@example.com")
        rig.simulator.revoke_tokens()
        outcome = await rig.target.read(user.id)
        assert isinstance(outcome, Outcome)
        assert (outcome.kind, outcome.code) == (Kind.ORG_DOWN, "bad.credentials")
        assert len(rig.requests()) == 1

    run(body)


@pytest.mark.parametrize("name", GENESYS)
def test_a_write_never_fetches_a_token(name: str) -> None:
    """Without a valid token nothing is sent; a 401 drops the token, so that the next read renews it."""

    async def body() -> None:
        rig = await make_rig(name)
        user = await rig.user()
        rig.simulator.revoke_tokens()
        assert (await rig.target.write(user, PASSWORD)).kind is Kind.UNAUTHORIZED
        assert rig.tokens.current() is None
        count = len(rig.requests())
        assert await rig.target.write(user, PASSWORD) == Outcome(Kind.UNAUTHORIZED)
        assert len(rig.requests()) == count
        assert rig.simulator.stats()["tokenRequests"] == 1
        assert (await rig.target.write(await rig.user(), PASSWORD)).kind is Kind.APPLIED

    run(body)


@pytest.mark.parametrize(
    ("setting", "kind", "code"),
    [
        ("token_throttled", Kind.THROTTLED, "token.throttled"),
        ("reset_before", Kind.UNAVAILABLE, "token.unavailable"),
        ("bad_gateway", Kind.UNAVAILABLE, "token.unavailable"),
        ("disabled", Kind.ORG_DOWN, "invalid_client"),
    ],
)
def test_without_a_token_a_read_says_why(setting: str, kind: Kind, code: str) -> None:
    """Trouble at the token endpoint is an outcome too, and costs no slot."""

    async def body() -> None:
        rig = await make_rig(GENESYS[0])
        rig.tokens.drop(rig.tokens.current() or "")
        if setting == "disabled":
            rig.simulator.set(disabled_clients=["simulator"])
        else:
            rig.simulator.next(setting, path="/oauth/token")
        outcome = await rig.target.read(rig.simulator.user("agent001@example.com").id)
        assert isinstance(outcome, Outcome)
        assert (outcome.kind, outcome.code) == (kind, code)
        assert rig.gate.slots == []

    run(body)


# --- inactive --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GENESYS)
@pytest.mark.parametrize("quoted", [True, False])
def test_all_inactive_users_are_listed_as_bulk(name: str, quoted: bool) -> None:
    """Page after page of 25, with the priority of bulk, names case folded, nobody else in it."""

    async def body() -> None:
        rig = await make_rig(name, users=130, quoted_version=quoted)
        for number in range(1, 100):
            rig.simulator.edit(f"agent{number:03}@example.com", {"active": False})
        rig.simulator.edit("agent001@example.com", {"userName": "Agent001@Example.COM"})
        listed = await rig.target.inactive()
        expected = {u.user_name.casefold(): u.id for u in rig.simulator.directory() if not u.active}
        assert listed == expected
        assert rig.gate.slots == [BULK_LIST] * -(-len(expected) // 25)

    run(body)


@pytest.mark.parametrize("name", GENESYS)
def test_a_list_that_fails_half_way_is_an_outcome(name: str) -> None:
    """A partial list is never taken for the whole; the next time it goes on where it failed."""

    async def body() -> None:
        rig = await make_rig(name, users=60)
        for number in range(1, 41):
            rig.simulator.edit(f"agent{number:03}@example.com", {"active": False})

        rig.gate.at_second_slot = lambda: rig.simulator.next("unavailable")
        outcome = await rig.target.inactive()
        assert isinstance(outcome, Outcome)
        assert (outcome.kind, outcome.retry_after) == (Kind.UNAVAILABLE, 2.0)
        assert rig.gate.slots == [BULK_LIST, BULK_LIST]
        listed = await rig.target.inactive()
        assert not isinstance(listed, Outcome)
        assert len(listed) == sum(not user.active for user in rig.simulator.directory()) >= 40
        assert rig.gate.slots == [BULK_LIST] * 3
        assert listed == await rig.target.inactive()  # which begins anew
        assert rig.gate.slots == [BULK_LIST] * 5

    run(body)


# --- pages -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GENESYS)
def test_a_page_has_25_users_as_a_read_shows_them(name: str) -> None:
    """Whole, with their versions, with the asked priority; the last page has the rest."""

    async def body() -> None:
        rig = await make_rig(name, users=60)
        active = sum(user.active for user in rig.simulator.directory())
        first, last = await rig.target.page(1, READ), await rig.target.page(51, BULK_READ)
        assert isinstance(first, Page)
        assert isinstance(last, Page)
        assert (first.total, first.size, len(first.users)) == (active, 25, 25)
        assert (last.total, last.size) == (active, active - 50)
        assert rig.gate.slots == [READ, BULK_READ]
        read = await rig.target.read(first.users[7].id)
        assert isinstance(read, User)
        assert read.version == first.users[7].version
        assert rig.target.alike(first.users[7], read)
        assert not rig.target.alike(first.users[8], read)

    run(body)


@pytest.mark.parametrize("name", GENESYS)
def test_a_reduced_user_of_a_page_is_enough_for_all_but_a_put(name: str) -> None:
    """Which sends the whole user back; any other version is enough for none."""

    async def body() -> None:
        rig = await make_rig(name, users=60, list_users="reduced")
        page = await rig.target.page(1, READ)
        assert isinstance(page, Page)
        listed = page.users[3]
        read = await rig.target.read(listed.id)
        assert isinstance(read, User)
        assert rig.target.alike(listed, read) is ("put" not in name)
        rig.simulator.touch(listed.id)
        moved = await rig.target.read(listed.id)
        assert isinstance(moved, User)
        assert not rig.target.alike(listed, moved)

    run(body)


@pytest.mark.parametrize("name", GENESYS)
def test_a_page_that_cannot_be_read_is_an_outcome(name: str) -> None:
    """As with any other read; 404 is about the address, not about a user."""

    async def body() -> None:
        rig = await make_rig(name, users=60)
        rig.simulator.next("unavailable")
        outcome = await rig.target.page(1, READ)
        assert isinstance(outcome, Outcome)
        assert outcome.kind is Kind.UNAVAILABLE

    run(body)


@pytest.mark.parametrize("name", SCIM)
def test_a_plain_provider_has_no_pages_to_rely_on(name: str) -> None:
    """No request is made for one."""

    async def body() -> None:
        rig = await make_rig(name)
        assert await rig.target.page(1, READ) is None
        assert rig.requests() == []

    run(body)


@pytest.mark.parametrize("name", SCIM)
def test_a_plain_provider_has_no_list_of_inactive_users(name: str) -> None:
    """No request is made for it."""

    async def body() -> None:
        rig = await make_rig(name)
        assert await rig.target.inactive() == {}
        assert rig.requests() == []

    run(body)


def test_an_unknown_write_mode_is_refused_at_start() -> None:
    """Each target has its own modes."""
    client = http_client(httpx2.MockTransport(lambda request: httpx2.Response(200)))
    tokens = Tokens(client, HOST, "id", Password("secret"), StandingClock())
    with pytest.raises(ValueError, match="write mode"):
        GenesysTarget(HOST, "put", tokens, client, WrittenGate())
    with pytest.raises(ValueError, match="write mode"):
        ScimTarget(HOST, Password("token"), "native", client, WrittenGate())
