"""A SCIM service provider in memory, as the port ``Provider``, and the gateway's routes before it."""

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx2

from http_fakes import USER, World
from passferry.domain.answers import Answer
from passferry.domain.outcome import Outcome
from passferry.domain.scim_query import Equals, Query
from passferry.ports import Found

ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:User"
JANE: dict[str, Any] = {
    "schemas": [SCHEMA],
    "id": USER,
    "userName": "jane@example.com",
    "active": True,
    "meta": {"version": "7", "location": f"https://api.example/users/{USER}"},
}


@dataclass
class FakeProvider:
    """Answers as it is told to; keeps what it was asked."""

    users: dict[str, dict[str, Any]] = field(default_factory=lambda: {USER: dict(JANE)})
    away: Outcome | Answer | None = None
    refusal: Answer | None = None  # of everything that is sent
    answers: list[Answer | Outcome] = field(default_factory=list)  # to what is sent, before all others
    echo: str | None = None  # shown as every user's title
    looks: list[tuple[str, bool]] = field(default_factory=list)
    sent: list[tuple[str, str | None, str | None, str | None]] = field(default_factory=list)
    queries: list[Query] = field(default_factory=list)
    forgotten: int = 0
    gave_way: int = 0
    page: int = 25

    @property
    def giving_way(self) -> "FakeProvider":
        self.gave_way += 1
        return self

    async def one(
        self, kind: str, resource_id: str, query: Query, *, fresh: bool = False
    ) -> Answer | Outcome:
        self.looks.append((resource_id, fresh))
        if self.away is not None:
            return self.away
        found = self.users.get(resource_id.lower())
        return Answer(404, body=b"{}") if found is None else self._shown(found)

    async def search(self, kind: str, query: Query) -> Found | Answer | Outcome:
        self.queries.append(query)
        if self.away is not None:
            return self.away
        names = query.filter.value.casefold() if isinstance(query.filter, Equals) else None
        found = [user for user in self.users.values() if names in (None, user["userName"].casefold())]
        return Found(len(found), [json.dumps(user) for user in found])

    async def send(
        self, method: str, kind: str, resource_id: str | None, body: str | None, version: str | None = None
    ) -> Answer | Outcome:
        self.sent.append((method, resource_id, body, version))
        if self.answers:
            return self.answers.pop(0)
        if self.away is not None:
            return self.away
        if self.refusal is not None:
            return self.refusal
        if method == "DELETE":
            return Answer(204)
        made = dict(JANE) | {"id": resource_id or "22222222-2222-3333-4444-555555555555"}
        if method != "PATCH":
            made |= {name: value for name, value in json.loads(body or "{}").items() if name != "id"}
        made["meta"] = {"version": "8"}
        self.users[made["id"]] = made
        return self._shown(made, 201 if method == "POST" else 200)

    def forget(self) -> None:
        self.forgotten += 1

    async def close(self) -> None:
        """Nothing is open."""

    def _shown(self, user: dict[str, Any], status: int = 200) -> Answer:
        shown = user | ({"title": self.echo} if self.echo is not None else {})
        tag = f'"{user["meta"]["version"]}"'
        return Answer(status, {"etag": tag}, json.dumps(shown).encode())


class ScimWorld(World):
    """The gateway over fakes, with inbound SCIM; ``emea`` is in the mode proxy."""

    def __init__(self, **parts: Any) -> None:
        self.provider = FakeProvider()
        self.asked_for: list[str] = []
        super().__init__(
            parts.pop("rules", {}), **({"providers": self._provider, "proxies": ("emea",)} | parts)
        )

    def _provider(self, org: str) -> FakeProvider:
        self.asked_for.append(org)
        return self.provider

    def scim(self, method: str, path: str, body: Any = None, **more: Any) -> httpx2.Response:
        """A request by the portal to the org `default`, or with ``org`` to another."""
        prefix = f"/orgs/{more.pop('org')}/scim/v2" if "org" in more else "/scim/v2"
        more.setdefault("key", self.portal)
        return self.call(method, prefix + path, body=body, **more)

    def put(self, password: str | None, **more: Any) -> httpx2.Response:
        """PUT of Jane, with a password or without."""
        user = {"userName": "jane@example.com", "active": True} | ({"password": password} if password else {})
        return self.scim("PUT", f"/Users/{USER}", user, **more)

    def patch(self, *operations: Any, **more: Any) -> httpx2.Response:
        """PATCH of Jane."""
        body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": list(operations)}
        return self.scim("PATCH", f"/Users/{USER}", body, **more)


def by_filter(text: str) -> str:
    """The path of a search."""
    return f"/Users?filter={quote(text)}"


def is_error(answer: Any, status: int, scim_type: str | None = None, word: str = "") -> bool:
    """Whether it is an Error of SCIM with this status, type and word."""
    body = answer.json()
    assert answer.headers["content-type"] == "application/scim+json"
    assert (answer.status_code, body["schemas"], body["status"]) == (status, [ERROR], str(status)), body
    assert body["detail"]
    return body.get("scimType") == scim_type and word in body["detail"]
