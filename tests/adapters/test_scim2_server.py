"""Delivery to a SCIM service provider that nobody here wrote: scim2-server, over sockets."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from scim2_models import UnauthorizedException
from scim2_server.applications.asgi import ASGIApplication
from scim2_server.memory import AsyncInMemoryStorage
from scim2_server.utils import load_default_provider

from passferry.adapters.clock import SystemClock
from passferry.adapters.http_client import http_client
from passferry.adapters.scim_target import ScimTarget
from passferry.config import OrgSettings, Secret
from passferry.doctor.org import look_at_org
from passferry.domain.diagnosis import Level
from passferry.domain.outcome import Kind, Outcome
from passferry.domain.password import Password
from passferry.domain.scim import User

TOKEN, PASSWORD = "the-bearer-token", Password('Canary-"é-Pass5!')
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
JANE = {
    "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", ENTERPRISE],
    "userName": "Jane@example.com",
    "name": {"givenName": "Jane", "familyName": "Müller"},
    "emails": [{"value": "jane@example.com", "type": "work", "primary": True}],
    "phoneNumbers": [{"value": "+13175550001", "type": "work"}],
    "active": True,
    "externalId": "hr-1",
    ENTERPRISE: {"department": "Support", "employeeNumber": "7"},
}


class OpenGate:
    """Lets everything through."""

    async def slot(self, priority: int) -> None:
        return None

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        return None


class Application(ASGIApplication):
    """The provider, for bearers of one token."""

    def check_auth(self, request: Any) -> None:
        if request.header("Authorization") != f"Bearer {TOKEN}":
            raise UnauthorizedException


class Provider:
    """A running provider: where it is, and what it holds."""

    def __init__(self, url: str, storage: Any) -> None:
        self.url, self.storage = url, storage
        self.client = http_client()

    def target(self, mode: str, token: str = TOKEN) -> ScimTarget:
        """The target under test."""
        return ScimTarget(self.url, Password(token), mode, http_client(), OpenGate(), 10.0)

    async def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """A request made beside the target."""
        response = await self.client.request(
            method, self.url + path, json=body, headers={"Authorization": f"Bearer {TOKEN}"}
        )
        assert response.is_success, response.text
        answer: dict[str, Any] = response.json() if response.content else {}
        return answer

    def password_of(self, user_id: str) -> str | None:
        """The password that the provider holds."""
        found = next(resource for resource in self.storage.resources if resource.id == user_id)
        password: str | None = found.password
        return password


@asynccontextmanager
async def provider() -> AsyncIterator[Provider]:
    """A provider on a free port of this machine."""
    storage = AsyncInMemoryStorage()
    app = Application(storage, load_default_provider())
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # whoever connects before the server runs waits for it
        config = uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=2)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([listener]))
        running = Provider(f"http://127.0.0.1:{listener.getsockname()[1]}/v2", storage)
        try:
            yield running
        finally:
            await running.client.aclose()
            server.should_exit = True
            await serving


def run(body: Callable[[Provider], Awaitable[None]]) -> None:
    """Run ``body`` with a provider, within a bounded time."""

    async def bounded() -> None:
        async with asyncio.timeout(30), provider() as running:
            await body(running)

    asyncio.run(bounded())


def without_meta(resource: Mapping[str, Any]) -> str:
    """The resource as text, without what a write moves."""
    return json.dumps({name: value for name, value in resource.items() if name != "meta"})


@pytest.mark.parametrize("mode", ["scim-put", "scim-patch"])
def test_a_password_arrives_and_the_profile_stays(mode: str) -> None:
    """Found by name, read, written: the provider holds the password, and every attribute is as before."""

    async def body(running: Provider) -> None:
        made = await running.call("POST", "/Users", JANE)
        target = running.target(mode)
        found = await target.find("jane@EXAMPLE.com")
        assert isinstance(found, User)
        assert found.id == made["id"]
        user = await target.read(found.id)
        assert isinstance(user, User)
        assert user.active
        before = await running.call("GET", f"/Users/{user.id}")
        outcome = await target.write(user, PASSWORD)
        assert (outcome.kind, outcome.code) == (Kind.APPLIED, "")
        assert running.password_of(user.id) == PASSWORD.reveal()
        after = await running.call("GET", f"/Users/{user.id}")
        assert without_meta(after) == without_meta(before)
        again = await target.read(user.id)
        assert isinstance(again, User)
        assert again.version is not None
        assert again.version not in (user.version, None)
        assert outcome.version in (again.version, None)
        await target.close()

    run(body)


@pytest.mark.parametrize("mode", ["scim-put", "scim-patch"])
def test_an_edit_in_between_is_a_conflict(mode: str) -> None:
    """The provider's version guards the write: nothing is undone, and the next read and write succeed."""

    async def body(running: Provider) -> None:
        made = await running.call("POST", "/Users", JANE)
        target = running.target(mode)
        user = await target.read(made["id"])
        assert isinstance(user, User)
        edit = {"op": "replace", "path": "title", "value": "Agent"}
        schemas = ["urn:ietf:params:scim:api:messages:2.0:PatchOp"]
        await running.call("PATCH", f"/Users/{user.id}", {"schemas": schemas, "Operations": [edit]})
        assert (await target.write(user, PASSWORD)).kind is Kind.CONFLICT
        assert running.password_of(user.id) is None
        fresh = await target.read(user.id)
        assert isinstance(fresh, User)
        assert (await target.write(fresh, PASSWORD)).kind is Kind.APPLIED
        assert (await running.call("GET", f"/Users/{user.id}"))["title"] == "Agent"
        await target.close()

    run(body)


def test_nobody_an_unknown_id_and_a_wrong_token_are_told_apart() -> None:
    """None, user.unknown and bad.credentials, as this provider says them."""

    async def body(running: Provider) -> None:
        target, stranger = running.target("scim-put"), running.target("scim-put", "wrong")
        assert await target.find('no"body@example.com') is None
        assert await target.read("0") == Outcome(Kind.BLOCKED, "user.unknown")
        assert await stranger.read("0") == Outcome(Kind.ORG_DOWN, "bad.credentials")
        await target.close()
        await stranger.close()

    run(body)


def test_an_inactive_user_is_found_by_name() -> None:
    """A plain provider shows inactive users in the normal lookup."""

    async def body(running: Provider) -> None:
        await running.call("POST", "/Users", JANE | {"active": False})
        target = running.target("scim-put")
        found = await target.find("jane@example.com")
        assert isinstance(found, User)
        assert found.active is False
        await target.close()

    run(body)


def test_a_first_look_finds_its_way_at_the_provider() -> None:
    """``doctor`` reads users and features of a provider that nobody here wrote, and nothing fails."""

    async def body(running: Provider) -> None:
        await running.call("POST", "/Users", JANE)
        org = OrgSettings("default", target="scim", base_url=running.url, token=Secret(TOKEN))
        found = {one.check: one for one in await look_at_org(org, SystemClock())}
        assert list(found) == ["host", "clock", "users", "permissions", "versions", "features"]
        assert found["users"].message == "the target shows 1 user"
        assert [one for one in found.values() if one.level is Level.FAIL] == []
        wrong = OrgSettings("default", target="scim", base_url=running.url, token=Secret("wrong"))
        found = {one.check: one for one in await look_at_org(wrong, SystemClock())}
        assert (found["users"].level, found["users"].code) == (Level.FAIL, "bad.credentials")

    run(body)
