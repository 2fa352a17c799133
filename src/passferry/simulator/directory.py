"""The users of one organization, in memory only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
GENESYS = "urn:ietf:params:scim:schemas:extension:genesys:purecloud:2.0:User"
CORE = "urn:ietf:params:scim:schemas:core:2.0:User"
SCIM_AUTHORITY = "x-pc:scimv2:v1"


@dataclass(frozen=True, slots=True)
class Write:
    """One applied password write: when (epoch seconds), by which call, under which correlation id."""

    time: float
    via: str
    correlation_id: str
    client: str
    password: str = field(repr=False)


@dataclass(slots=True)
class User:
    """One user. `profile` has every attribute but id, groups, meta and password."""

    id: str
    profile: dict[str, Any]
    version: int
    modified: float
    groups: list[dict[str, Any]] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    changed_at: float | None = None
    rendered: bytes | None = field(default=None, repr=False)

    @property
    def user_name(self) -> str:
        """The email that names the user."""
        return str(self.profile["userName"])

    @property
    def active(self) -> bool:
        """Whether the user may log in."""
        return self.profile.get("active") is True

    @property
    def division(self) -> str:
        """Name of the user's division."""
        extension = self.profile.get(ENTERPRISE)
        return str(extension.get("division", "Home")) if isinstance(extension, dict) else "Home"

    @property
    def password(self) -> str | None:
        """The last password that was written, None when there was none."""
        return self.writes[-1].password if self.writes else None

    def resource(self, base_url: str, *, quoted_version: bool) -> dict[str, Any]:
        """The whole SCIM resource, as GET by id returns it."""
        version = f'"{self.version}"' if quoted_version else str(self.version)
        meta = {
            "resourceType": "User",
            "lastModified": iso(self.modified),
            "location": f"{base_url}/api/v2/scim/v2/users/{self.id}",
            "version": version,
        }
        profile = dict(self.profile)
        head: dict[str, Any] = {"schemas": profile.pop("schemas", [CORE]), "id": self.id}
        return head | profile | {"groups": self.groups, "meta": meta}


def iso(moment: float) -> str:
    """An epoch time as the platform writes it: UTC with milliseconds."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Directory:
    """Users by id and by userName (case folded), in a stable order."""

    def __init__(self, users: Iterator[User], groups: list[dict[str, Any]]) -> None:
        self.groups = groups
        self._by_id: dict[str, User] = {}
        self._by_name: dict[str, User] = {}
        self._listed: dict[bool, list[User]] = {}
        for user in users:
            self.add(user)

    def __iter__(self) -> Iterator[User]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, user_id: str) -> User | None:
        """The user of an id, None when there is none."""
        return self._by_id.get(user_id)

    def named(self, user_name: str) -> User | None:
        """The user of a userName, whatever its case."""
        return self._by_name.get(user_name.casefold())

    def find(self, reference: str) -> User | None:
        """The user of an id or of a userName."""
        return self.get(reference) or self.named(reference)

    def listed(self, *, active: bool) -> list[User]:
        """All users of a state, in their order."""
        if active not in self._listed:
            self._listed[active] = [user for user in self if user.active is active]
        return self._listed[active]

    def add(self, user: User) -> None:
        """Take a new user in."""
        self._by_id[user.id] = user
        self._by_name[user.user_name.casefold()] = user
        self._listed.clear()

    def remove(self, user: User) -> None:
        """Forget a user; the userName is free again."""
        del self._by_id[user.id]
        del self._by_name[user.user_name.casefold()]
        self._listed.clear()

    def replace(self, user: User, profile: dict[str, Any], now: float) -> None:
        """Give a user another profile and a new version."""
        del self._by_name[user.user_name.casefold()]
        user.profile = profile
        self._by_name[user.user_name.casefold()] = user
        self._listed.clear()
        touch(user, now)


def touch(user: User, now: float) -> None:
    """Move a user's version."""
    user.version += 1
    user.modified = now
    user.rendered = None
