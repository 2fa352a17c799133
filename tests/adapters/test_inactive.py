"""Inactive users, whom a search by name does not find at Genesys Cloud."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from adapters.test_relay import PLAIN, Scene, page
from passferry.adapters import inactive
from passferry.adapters.inactive import DOUBTED, KEPT, LOOKUP_WAIT
from passferry.adapters.relay import Relay
from passferry.domain.answers import Answer
from passferry.domain.outcome import Kind, Outcome
from passferry.domain.scim_query import Equals, Query
from passferry.ports import BULK_RELAYED, RELAYED, Found

LISTING = "active eq false"
LEA = {"id": "u-9", "userName": "Lea@example.com", "externalId": "hr-9", "active": False}


class Org:
    """A target that finds active users only, but by `active eq false`."""

    def __init__(self, *users: dict[str, Any]) -> None:
        self.users = {user["id"]: dict(user) for user in users}
        self.listing: Callable[[], Any] | None = None
        self.scene = Scene(self.reply)

    def reply(self, request: httpx2.Request) -> Any:
        """Lists, users by id, and what was sent as the new state."""
        user = self.users.get(request.url.path.rpartition("/")[2])
        if request.method == "POST":
            return httpx2.Response(409, json={"scimType": "uniqueness"})
        if request.method == "PATCH" and user is not None:
            user |= json.loads(request.content)
        if user is not None:
            return user
        if request.url.params.get("filter") != LISTING:
            return page() if "filter" in request.url.params else httpx2.Response(404)
        if self.listing is not None:
            return self.listing()
        found = [user for user in self.users.values() if not user["active"]]
        start = int(request.url.params["startIndex"]) - 1
        return page(*found[start : start + 25], total=len(found))

    @property
    def listings(self) -> int:
        """Pages of inactive users that were read."""
        return sum(one.url.params.get("filter") == LISTING for one in self.scene.requests)

    async def find(self, attribute: str, value: str, **more: Any) -> list[str]:
        """Ids of who is found."""
        found = await self.scene.relay.search("Users", Query(Equals(attribute, value), **more))
        assert isinstance(found, Found), found
        assert found.total == len(found.items)
        return [json.loads(item)["id"] for item in found.items]

    def run(self, work: Callable[[Relay], Any]) -> None:
        """Do ``work``."""
        self.scene.run(work)


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("userName", "lea@EXAMPLE.com"),
        ("urn:ietf:params:scim:schemas:core:2.0:User:userName", "lea@example.com"),
        ("externalId", "hr-9"),
        ("id", "u-9"),
    ],
)
def test_an_inactive_user_is_found_by_what_is_its_own(attribute: str, value: str) -> None:
    """A provider that assigns somebody anew finds them, as they are now; nobody else is found."""
    org = Org(LEA, {"id": "u-1", "userName": "jane@example.com", "active": True})

    async def work(it: Relay) -> None:
        found = await it.giving_way.search("Users", Query(Equals(attribute, value)))
        assert isinstance(found, Found)
        assert (found.total, [json.loads(item) for item in found.items]) == (1, [LEA])
        assert await org.find("userName", "nobody@example.com") == []
        assert await org.find("externalId", "HR-9") == []
        assert await org.find("id", "u-8") == []
        assert await org.find("displayName", "x") == []

    org.run(work)


def test_the_list_is_read_whole_once_an_hour_for_all_searches() -> None:
    """Behind everybody else; only the reads of those who are found are paced as one user's."""
    users = [
        LEA | {"id": f"u-{n}", "userName": f"u{n}@example.com", "externalId": f"hr-{n}"} for n in range(60)
    ]
    org = Org(*users)

    async def work(it: Relay) -> None:
        found = await asyncio.gather(*(org.find("userName", f"u{n}@example.com") for n in (1, 30, 59, 77)))
        assert found == [["u-1"], ["u-30"], ["u-59"], []]
        assert org.listings == 3
        assert org.scene.slots.count(BULK_RELAYED) == 3
        org.scene.clock.time += KEPT - 1
        await org.find("userName", "nobody@example.com")
        assert org.listings == 3
        org.scene.clock.time += 1
        await org.find("userName", "nobody@example.com")
        assert org.listings == 6
        assert set(org.scene.slots) == {RELAYED, BULK_RELAYED}

    org.run(work)


def test_who_was_made_inactive_through_us_is_found_at_once() -> None:
    """However old the list is: unassigned, and assigned again a minute later."""
    org = Org(LEA | {"active": True})

    async def work(it: Relay) -> None:
        assert await org.find("userName", "lea@example.com") == []
        await it.giving_way.send("PATCH", "Users", "u-9", '{"active": false}')
        assert await org.find("userName", "lea@example.com") == ["u-9"]
        assert await org.find("externalId", "hr-9") == ["u-9"]
        assert org.listings == 1

    org.run(work)


def test_who_has_another_name_by_now_is_not_found() -> None:
    """A name may have been given to somebody else: what the list showed is not believed."""
    org = Org(LEA)

    async def work(it: Relay) -> None:
        assert await org.find("userName", "lea@example.com") == ["u-9"]
        org.users["u-9"]["userName"] = "other@example.com"
        it.forget()
        assert await org.find("userName", "lea@example.com") == []

    org.run(work)


@pytest.mark.parametrize("gone", [True, False])
def test_who_got_the_name_of_another_inactive_user_is_found_once_the_list_is_old(gone: bool) -> None:
    """What is known from before must not hide them for ever."""
    org = Org(LEA)

    async def work(it: Relay) -> None:
        assert await org.find("userName", "lea@example.com") == ["u-9"]
        if gone:
            del org.users["u-9"]
        else:
            org.users["u-9"]["userName"] = "old@example.com"
        org.users["u-5"] = LEA | {"id": "u-5", "externalId": "hr-5"}
        org.scene.clock.time += KEPT
        assert await org.find("userName", "lea@example.com") == ["u-5"]
        assert org.listings == 2

    org.run(work)


def test_who_is_made_inactive_is_kept_in_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest, in a process that runs for years and in which nobody searches."""
    monkeypatch.setattr(inactive, "MOST_KEYS", 4)
    org = Org(
        *(LEA | {"id": f"u-{n}", "userName": f"u{n}@example.com", "externalId": f"{n}"} for n in range(9))
    )

    async def work(it: Relay) -> None:
        for n in (0, 1, 2, 3, 1):
            await it.send("PATCH", "Users", f"u-{n}", '{"active": false}')
        for kept in (it._inactive._ids, it._inactive._so_far):
            assert list(kept.values()) == ["u-3", "u-3", "u-1", "u-1"]

    org.run(work)


def test_a_conflict_makes_the_list_doubtful() -> None:
    """Who was made inactive elsewhere, and could not be created, is found by a search some minutes later."""
    org = Org(LEA | {"active": True})

    async def work(it: Relay) -> None:
        assert await org.find("userName", "lea@example.com") == []
        org.users["u-9"]["active"] = False
        await it.send("POST", "Users", None, "{}")
        assert await org.find("userName", "lea@example.com") == []
        org.scene.clock.time += DOUBTED
        assert await org.find("userName", "lea@example.com") == ["u-9"]
        org.scene.clock.time += DOUBTED
        assert await org.find("userName", "nobody@example.com") == []
        assert org.listings == 2

    org.run(work)


def test_while_the_list_cannot_be_read_nobody_is_called_missing() -> None:
    """The provider is to ask again, rather than to create somebody who exists."""
    org = Org(*(LEA | {"id": f"u-{n}", "userName": f"u{n}@example.com"} for n in range(40)))

    async def work(it: Relay) -> None:
        org.listing = lambda: httpx2.Response(503)
        found = await it.search("Users", Query(Equals("userName", "u30@example.com")))
        assert isinstance(found, Outcome)
        assert found.kind is Kind.UNAVAILABLE
        org.listing = None
        assert await org.find("userName", "u30@example.com") == ["u-30"]

    org.run(work)


def test_a_list_that_takes_long_is_read_on_while_the_provider_is_told_to_ask_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody waits for more than some seconds, and the next search has it."""
    monkeypatch.setattr(inactive, "PATIENCE", 0.01)
    org = Org(LEA)

    async def work(it: Relay) -> None:
        turn = asyncio.Event()

        async def slot(priority: int) -> None:
            if priority == BULK_RELAYED:
                await turn.wait()

        monkeypatch.setattr(org.scene, "slot", slot)
        wanted = Query(Equals("userName", "lea@example.com"))
        assert await it.search("Users", wanted) == Outcome(
            Kind.THROTTLED, "user.lookup", retry_after=LOOKUP_WAIT
        )
        turn.set()
        reading = it._inactive._reading
        assert reading is not None
        await reading
        assert await org.find("userName", "lea@example.com") == ["u-9"]

    org.run(work)


@pytest.mark.parametrize("refusal", [400, 403])
def test_a_target_without_such_a_list_keeps_nobody_from_being_created(refusal: int) -> None:
    """Then nobody is found, as it says, and it is not asked again for an hour."""
    org = Org(LEA)
    org.listing = lambda: httpx2.Response(refusal, json={"code": "not.authorized"})

    async def work(it: Relay) -> None:
        for name in ("lea@example.com", "new@example.com"):
            assert await org.find("userName", name) == []
        assert org.listings == 1

    org.run(work)


def test_a_list_in_which_nobody_is_inactive_is_not_read_on() -> None:
    """The filter is not honoured, and there may be thousands."""
    org = Org()
    active = [LEA | {"id": f"u-{n}", "active": True} for n in range(25)]
    org.listing = lambda: page(*active, total=5000)

    async def work(it: Relay) -> None:
        assert await org.find("userName", "lea@example.com") == []
        assert org.listings == 1

    org.run(work)


def test_only_first_pages_of_users_are_looked_for_among_them_and_at_genesys_cloud_alone() -> None:
    """Other providers' searches find inactive users, too."""

    async def work(it: Relay) -> None:
        await it.search("Groups", Query(Equals("externalId", "hr-9")))
        await it.search("Users", Query(Equals("userName", "lea@example.com"), start=26))

    org = Org(LEA)
    org.run(work)
    assert org.listings == 0
    scene = Scene(lambda request: page(), PLAIN)
    scene.run(lambda it: it.search("Users", Query(Equals("userName", "lea@example.com"))))
    assert LISTING not in "".join(scene.urls)


def test_an_error_of_the_user_who_is_found_is_the_targets() -> None:
    """It does not mean that there is nobody."""
    org = Org(LEA)

    async def work(it: Relay) -> None:
        reply = org.scene.reply
        org.scene.reply = lambda request: (
            httpx2.Response(500) if "u-9" in str(request.url) else reply(request)
        )
        found = await it.search("Users", Query(Equals("userName", "lea@example.com")))
        assert isinstance(found, Answer)
        assert found.status == 500

    org.run(work)
