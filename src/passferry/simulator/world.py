"""What the stand-in knows at one moment, and one call on its way through it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote

from passferry.simulator import exact_json
from passferry.simulator.directory import Directory
from passferry.simulator.errors import Refused, missing_all, missing_any
from passferry.simulator.oauth import Token, TokenBook
from passferry.simulator.ratelimit import Window
from passferry.simulator.settings import Settings
from passferry.simulator.wire import Reply, Request

JSON = (("Content-Type", "application/json"),)


@dataclass(slots=True)
class World:
    """All state. `base_url` is what `meta.location` begins with."""

    settings: Settings
    book: TokenBook
    directories: Mapping[str, Directory]
    random: random.Random
    base_url: str
    windows: dict[tuple[str, str], Window] = field(default_factory=dict)


@dataclass(slots=True)
class Call:
    """One authenticated request: who, when, under which correlation id, on whose users."""

    world: World
    request: Request
    now: float
    correlation_id: str
    token: Token
    headers: list[tuple[str, str]] = field(default_factory=list)
    user_id: str | None = None

    @property
    def settings(self) -> Settings:
        """The settings of this moment."""
        return self.world.settings

    @property
    def directory(self) -> Directory:
        """The users of the caller's organization."""
        return self.world.directories[self.token.client.org]

    @property
    def parts(self) -> list[str]:
        """The path's segments, percent-decoded."""
        return [unquote(part) for part in self.request.path.strip("/").split("/")]

    def query(self) -> dict[str, list[str]]:
        """The query's parameters; repeated ones keep every value."""
        return parse_qs(self.request.query, keep_blank_values=True)

    def json(self, *, scim: bool = False) -> Any:
        """The body as JSON. Raises Refused: 415 for another media type, 400 for anything that is not JSON."""
        kind = self.request.headers.get("content-type", "").split(";")[0].strip().lower()
        if kind not in (("application/json", "application/scim+json") if scim else ("application/json",)):
            raise Refused(415, "unsupported.media.type")
        try:
            return exact_json.loads(self.request.body)
        except ValueError:
            pass
        raise Refused(400, "bad.request")

    def require_any(self, *permissions: str) -> None:
        """Raise 403 when the client holds none of these permissions."""
        if all(permission in self.settings.missing_permissions for permission in permissions):
            raise missing_any(permissions)

    def require(self, permission: str) -> None:
        """Raise 403 when the client lacks a permission."""
        if permission in self.settings.missing_permissions:
            raise missing_all((permission,))


def answer(status: int, body: Any = None, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """An answer with a JSON body, or with none."""
    if body is None:
        return Reply(status, headers)
    return Reply(status, JSON + headers, exact_json.dumps(body))
