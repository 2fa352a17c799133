"""The port Provider: what is asked of a target on the wire, and what is kept of its answers."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import unquote

import httpx2
import pytest

from passferry.adapters import relay
from passferry.adapters.bearer import Bearer
from passferry.adapters.http_client import http_client
from passferry.adapters.relay import FRESH, Dialect, Relay
from passferry.domain.answers import Answer
from passferry.domain.outcome import Kind, Outcome
from passferry.domain.scim_query import Equals, Query
from passferry.ports import BULK_RELAYED, RELAYED, Found
from passferry.relay_gate import Busy

T = TypeVar("T")
GENESYS, PLAIN = relay.genesys("https://api.example"), relay.plain("https://scim.example/v2/")
JANE = {"id": "u-1", "userName": "Jane@example.com", "externalId": "hr-1"}


class Clock:
    """Moved by hand."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class Tokens:
    """A new token for every one that was dropped."""

    def __init__(self) -> None:
        self.number = 1

    async def get(self) -> str:
        return f"token-{self.number}"

    def current(self) -> str | None:
        return f"token-{self.number}"

    def drop(self, token: str) -> None:
        self.number += 1

    def resume(self) -> None:
        """There is no wait."""

    async def close(self) -> None:
        """Nothing is open."""


class Scene:
    """A relay before a target that answers as ``reply`` says."""

    def __init__(self, reply: Callable[[httpx2.Request], Any], dialect: Dialect = GENESYS) -> None:
        self.reply, self.clock = reply, Clock()
        self.requests: list[httpx2.Request] = []
        self.slots: list[int] = []
        self.busy: float | None = None
        client = http_client(httpx2.MockTransport(self._answer))
        self.bearer = Bearer(client, Tokens(), self, 10.0, "application/json", self.clock)
        self.relay = Relay(self.bearer, dialect, self.clock)

    async def slot(self, priority: int) -> None:
        if self.busy is not None:
            raise Busy(self.busy)
        self.slots.append(priority)

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """Nobody paces here."""

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        said = self.reply(request)
        if isinstance(said, Exception):
            raise said
        return said if isinstance(said, httpx2.Response) else httpx2.Response(200, json=said)

    @property
    def urls(self) -> list[str]:
        """What was asked, readably."""
        return [f"{one.method} {unquote(str(one.url))}" for one in self.requests]

    def run(self, work: Callable[[Relay], Awaitable[T]]) -> T:
        """The result of ``work``."""

        async def body() -> T:
            return await work(self.relay)

        return asyncio.run(body())


def page(*users: Any, total: int | None = None) -> dict[str, Any]:
    """A ListResponse."""
    return {"totalResults": len(users) if total is None else total, "Resources": list(users)}


def named(value: str) -> Query:
    """The search for a name."""
    return Query(Equals("userName", value))


def test_genesys_is_asked_in_its_own_way() -> None:
    """Lower case, attributes one by one, pages of 25; groups without a filter in the tree that allows it."""

    async def work(it: Relay) -> None:
        await it.one("Users", "u/1", Query(attributes=("title", "emails")))
        await it.search("Users", Query(start=3, count=200))
        await it.search("Groups", Query())
        await it.search("Groups", Query(filter='displayName eq "x"'))

    scene = Scene(lambda request: page())
    scene.run(work)
    assert scene.urls == [
        "GET https://api.example/api/v2/scim/v2/users/u/1?attributes=title&attributes=emails",
        "GET https://api.example/api/v2/scim/v2/users?startIndex=3&count=25",
        "GET https://api.example/api/v2/scim/groups?startIndex=1&count=25",
        'GET https://api.example/api/v2/scim/v2/groups?filter=displayName eq "x"&startIndex=1&count=25',
    ]
    assert scene.relay.page == scene.relay.giving_way.page == 25
    assert b"users/u%2F1?" in scene.requests[0].url.raw_path
    assert scene.slots == [RELAYED, BULK_RELAYED, BULK_RELAYED, BULK_RELAYED]


def test_other_providers_are_asked_as_the_rfc_has_it() -> None:
    """With commas, in the letter case of the standard."""

    async def work(it: Relay) -> None:
        await it.one("Users", "u 1", Query(attributes=("title", "emails")))
        await it.search("Schemas", Query())

    scene = Scene(lambda request: page(), PLAIN)
    scene.run(work)
    assert scene.urls == [
        "GET https://scim.example/v2/Users/u 1?attributes=title,emails",
        "GET https://scim.example/v2/Schemas?startIndex=1&count=100",
    ]
    assert scene.relay.page == 100


@pytest.mark.parametrize("dots", [".", ".."])
def test_an_id_names_nothing_above_the_users(dots: str) -> None:
    """Dots are no way up."""
    scene = Scene(lambda request: httpx2.Response(404))
    scene.run(lambda it: it.one("Users", dots, Query()))
    assert scene.requests[0].url.raw_path == b"/api/v2/scim/v2/users/%2E"


@pytest.mark.parametrize("quoted", [True, False])
def test_a_filter_value_is_tried_in_both_forms_until_one_has_found_somebody(quoted: bool) -> None:
    """Then that form alone is used, and its empty answer is believed."""

    def reply(request: httpx2.Request) -> Any:
        condition = request.url.params["filter"]
        if condition == "active eq false":
            return page()
        if ('"' in condition) is not quoted:
            return httpx2.Response(400, json={"scimType": "invalidFilter"})
        return page(JANE) if "jane" in condition else page()

    async def work(it: Relay) -> None:
        for name, total in (("jane@example.com", 1), ("nobody@example.com", 0)):
            found = await it.search("Users", named(name))
            assert isinstance(found, Found)
            assert found.total == total

    scene = Scene(reply)
    scene.run(work)
    assert len([url for url in scene.urls if "userName eq" in url]) == (2 if quoted else 3)


def test_a_filter_that_is_understood_in_no_form_is_the_targets_error() -> None:
    """As it said it."""
    scene = Scene(lambda request: httpx2.Response(400, json={"scimType": "invalidFilter"}))
    found = scene.run(lambda it: it.search("Users", named("jane@example.com")))
    assert isinstance(found, Answer)
    assert (found.status, len(scene.requests)) == (400, 2)


def test_a_filter_that_is_not_honoured_links_nobody() -> None:
    """Everybody is answered, and only who has the name is shown, in any letter case."""
    scene = Scene(lambda request: page({"id": "u-0", "userName": "joan@example.com"}, JANE, {"id": "u-2"}))
    found = scene.run(lambda it: it.search("Users", named("jane@example.com")))
    assert isinstance(found, Found)
    assert ([json.loads(item)["id"] for item in found.items], found.total) == (["u-1"], 1)


def test_a_filter_that_is_not_honoured_counts_nobody_else() -> None:
    """Of five thousand users none has the name: the total of a page that shows nobody is none."""
    others = [{"id": f"u-{number}", "userName": f"u{number}@example.com"} for number in range(25)]
    for users, total in ((others, 0), ([*others[1:], JANE], 1)):
        scene = Scene(lambda request, users=users: page(*users, total=5000), PLAIN)  # type: ignore[misc]
        found = scene.run(lambda it: it.search("Users", named("jane@example.com")))
        assert isinstance(found, Found)
        assert (found.total, len(found.items)) == (total, total)


@pytest.mark.parametrize(
    ("attribute", "slot"),
    [
        ("id", RELAYED),
        ("userName", RELAYED),
        ("externalId", RELAYED),
        ("active", BULK_RELAYED),
        ("displayName", BULK_RELAYED),
    ],
)
def test_only_who_asks_for_one_goes_with_people(attribute: str, slot: int) -> None:
    """Every other filter may find everybody."""
    scene = Scene(lambda request: page(JANE))
    scene.run(lambda it: it.search("Users", Query(Equals(attribute, "x"), attributes=("title",))))
    assert scene.slots[0] == slot


def test_what_is_passed_on_gives_way_to_deliveries_and_that_of_a_bulk_source_to_everybody() -> None:
    """Reads and writes alike; what one has read, the other has as well."""

    async def work(it: Relay) -> None:
        for each in (it, it.giving_way, it.giving_way.giving_way):
            await each.send("PATCH", "Users", "u-1", "{}")
            await each.one("Users", "u-1", Query())
        await it.one("Users", "u-1", Query())

    scene = Scene(lambda request: JANE)
    scene.run(work)
    assert scene.slots == [RELAYED] * 2 + [BULK_RELAYED] * 4


def test_a_filter_of_another_attribute_that_is_not_honoured_shows_nobody_else() -> None:
    """What it compares is asked for; a truth value is sent as it is, and once."""
    users = [{"id": "u-1", "active": True}, {"id": "u-2", "active": False}, {"id": "u-3"}]
    scene = Scene(lambda request: page(*users))
    wanted = Query(Equals("active", "false", literal=True), attributes=("id",))
    found = scene.run(lambda it: it.search("Users", wanted))
    assert isinstance(found, Found)
    assert ([json.loads(item)["id"] for item in found.items], found.total) == (["u-2"], 1)
    (request,) = scene.requests
    assert request.url.params["filter"] == "active eq false"
    assert request.url.params.get_list("attributes") == ["id", "active"]


def test_one_who_does_not_show_the_external_id_is_believed_only_when_alone() -> None:
    """Lists may leave attributes out; but a list of everybody proves nothing."""
    wanted = Query(Equals("externalId", "hr-1"))
    answers = [page({"id": "u-1"}), page({"id": "u-1"}, {"id": "u-2"})]
    for kept in (1, 0):
        found = Scene(lambda request: answers[0]).run(lambda it: it.search("Users", wanted))
        assert isinstance(found, Found)
        assert len(found.items) == kept
        answers.reverse()


def test_the_name_is_asked_for_so_that_it_can_be_checked() -> None:
    """Where only other attributes were wanted."""
    scene = Scene(lambda request: page(JANE))
    wanted = Query(Equals("userName", "jane@example.com"), attributes=("id",))
    scene.run(lambda it: it.search("Users", wanted))
    assert scene.requests[0].url.params.get_list("attributes") == ["id", "userName"]


def test_an_answer_is_used_again_for_some_seconds_and_no_longer() -> None:
    """Nor when somebody wants to know it anew, nor after something was sent."""

    async def work(it: Relay) -> list[int]:
        counts = []
        for change in (None, None, "fresh", "time", "sent", "forget"):
            if change == "time":
                scene.clock.time += FRESH
            elif change == "sent":
                await it.send("PATCH", "Users", "u-1", "{}")
            elif change == "forget":
                it.forget()
            await it.one("Users", "u-1", Query(), fresh=change == "fresh")
            counts.append(len([one for one in scene.requests if one.method == "GET"]))
        return counts

    scene = Scene(lambda request: JANE)
    assert scene.run(work) == [1, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("write", ["send", "forget"])
def test_an_answer_that_was_under_way_when_something_was_written_is_not_kept(write: str) -> None:
    """A client that reads its own change back, and writes what it read, would undo the change."""

    async def work(it: Relay) -> Answer | Outcome:
        asked, go_on = asyncio.Event(), asyncio.Event()
        answer = scene.bearer.ask

        async def slow(url: str, priority: int) -> Answer | Outcome:
            found = await answer(url, priority)
            asked.set()
            await go_on.wait()
            return found

        scene.bearer.ask = slow  # type: ignore[method-assign,assignment]
        early = asyncio.create_task(it.one("Users", "u-1", Query()))
        await asked.wait()
        scene.reply = lambda request: JANE | {"title": "new"}
        if write == "send":
            await it.send("PATCH", "Users", "u-1", "{}")
        else:
            it.forget()
        go_on.set()
        await early
        return await it.one("Users", "u-1", Query())

    scene = Scene(lambda request: JANE)
    found = scene.run(work)
    assert isinstance(found, Answer)
    assert "new" in found.text()


def test_errors_are_not_kept() -> None:
    """A user who is created a moment later is there at once."""
    scene = Scene(lambda request: httpx2.Response(404))

    async def work(it: Relay) -> None:
        await it.one("Users", "u-1", Query())
        await it.one("Users", "u-1", Query())

    scene.run(work)
    assert len(scene.requests) == 2


def test_what_is_kept_is_bounded_in_number_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest answers go first."""
    monkeypatch.setattr(relay, "MOST_KEPT", 3)
    kept = relay.Kept()
    for number in range(5):
        kept.put(str(number), Answer(200), 0.0)
    assert [number for number in range(5) if kept.get(str(number), 0.0) is not None] == [2, 3, 4]
    monkeypatch.setattr(relay, "MOST_BYTES", 10)
    kept.put("a", Answer(200, body=b"x" * 8), 0.0)
    kept.put("b", Answer(200, body=b"x" * 8), 0.0)
    assert (kept.get("a", 0.0), kept.get("b", 0.0) is not None) == (None, True)
    kept.put("c", Answer(200, body=b"x" * 80), 0.0)
    assert kept.get("c", 0.0) is None


@pytest.mark.parametrize(
    ("dialect", "given", "sent"),
    [(GENESYS, 'W/"7"', '"7"'), (GENESYS, '"7"', '"7"'), (PLAIN, 'W/"7"', 'W/"7"'), (PLAIN, None, None)],
)
def test_a_version_goes_on_in_the_form_that_the_target_has(
    dialect: Dialect, given: str | None, sent: str | None
) -> None:
    """Genesys Cloud has strong ones only."""
    scene = Scene(lambda request: JANE, dialect)
    scene.run(lambda it: it.send("PUT", "Users", "u-1", '{"x":5.0}', given))
    (request,) = scene.requests
    assert (request.headers.get("if-match"), request.content) == (sent, b'{"x":5.0}')


def test_a_write_is_sent_once_more_after_a_401_and_never_else() -> None:
    """401 says that nothing was done; no answer says nothing."""
    answers: list[Any] = [httpx2.Response(401), httpx2.Response(200, json=JANE)]
    scene = Scene(lambda request: answers.pop(0))
    answer = scene.run(lambda it: it.send("POST", "Users", None, "{}"))
    assert isinstance(answer, Answer)
    assert [one.headers["authorization"] for one in scene.requests] == ["Bearer token-1", "Bearer token-2"]

    lost = Scene(lambda request: httpx2.ReadError("cut"))
    assert lost.run(lambda it: it.send("POST", "Users", None, "{}")) == Outcome(Kind.UNKNOWN, "no.answer")
    assert len(lost.requests) == 1
    assert lost.run(lambda it: it.one("Users", "u", Query())) == Outcome(
        Kind.UNAVAILABLE, "target.unavailable"
    )


def test_a_turn_that_does_not_come_is_told_with_its_wait() -> None:
    """Nothing is sent."""
    scene = Scene(lambda request: JANE)
    scene.busy = 17.0
    told = Outcome(Kind.THROTTLED, "target.busy", retry_after=17.0)
    assert scene.run(lambda it: it.one("Users", "u", Query())) == told
    assert scene.run(lambda it: it.search("Users", named("jane"))) == told
    assert scene.run(lambda it: it.send("DELETE", "Users", "u", None)) == told
    assert scene.requests == []


def test_a_list_that_is_none_is_not_believed() -> None:
    """A proxy's page, say."""
    scene = Scene(lambda request: httpx2.Response(200, text="<html>"))
    found = scene.run(lambda it: it.search("Users", Query()))
    assert isinstance(found, Outcome)
    assert found.code == "target.answer.unusable"
