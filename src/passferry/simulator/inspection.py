"""The stand-in as tests and people use it: the engine, what arrived, and levers to pull while it runs."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

from passferry.simulator import control, exact_json
from passferry.simulator.core import Engine
from passferry.simulator.directory import Directory, User, Write, touch
from passferry.simulator.faults import FAULTS, Fault, Planned
from passferry.simulator.journal import Entry
from passferry.simulator.oauth import Client, Token
from passferry.simulator.wire import Reply, Request


class Simulator(Engine):
    """A stand-in for Genesys Cloud; the arguments are those of `Engine`.

    Wherever a user is wanted, an id or a userName will do; `org` is the organization of an OAuth client, the
    default one when it is left out. Every look at a user first applies the late writes that are due.
    """

    def _control(self, request: Request) -> Reply:
        return control.answer_control(self, request)

    @property
    def clients(self) -> Mapping[str, Client]:
        """The OAuth clients by id."""
        return self._clients

    @property
    def planned(self) -> tuple[Planned, ...]:
        """The one-shot faults that still wait."""
        return tuple(self._planned)

    def change_secret(self, client_id: str, secret: str) -> None:
        """Give an OAuth client another secret; tokens that were issued stay valid. Raises KeyError."""
        self._clients[client_id] = dataclasses.replace(self._clients[client_id], secret=secret)

    def set(self, **changes: Any) -> None:
        """Change some settings while running; values as `Settings.changed` takes them."""
        self.settings = self.settings.changed(changes)

    def next(self, fault: Fault | str, *, method: str = "*", path: str = "*", count: int = 1) -> None:
        """Let a fault strike the next `count` requests that fit. Raises ValueError for an unknown fault.

        `path` is a shell pattern, or a part of the path when it holds no `*`.
        """
        self._planned += [Planned(Fault(fault), method.upper(), path)] * count

    def clear_planned(self) -> None:
        """Drop the one-shot faults that still wait."""
        self._planned.clear()

    def directory(self, org: str = "") -> Directory:
        """The users of an organization, after every late write that is due."""
        self._settle(self._clock())
        return self._world.directories[org]

    def user(self, reference: str, org: str | None = None) -> User:
        """The user of an id or userName; without `org` in any organization. Raises KeyError."""
        self._settle(self._clock())
        for name, directory in self._world.directories.items():
            found = directory.find(reference) if org in (None, name) else None
            if found is not None:
                return found
        raise KeyError(reference)

    def password_of(self, reference: str, org: str | None = None) -> str | None:
        """The password that was last written for a user, None when none was."""
        return self.user(reference, org).password

    def verify(self, reference: str, password: str, org: str | None = None) -> bool:
        """Whether a user could log in with this password."""
        return self.password_of(reference, org) == password

    def writes(self, reference: str, org: str | None = None) -> list[Write]:
        """The password writes of a user in the order they were applied."""
        return list(self.user(reference, org).writes)

    def profile(self, reference: str, org: str | None = None) -> dict[str, Any]:
        """The whole SCIM resource of a user, without meta."""
        resource = self.user(reference, org).resource(self.base_url, quoted_version=False)
        del resource["meta"]
        return copy.deepcopy(resource)

    def profile_text(self, reference: str, org: str | None = None) -> bytes:
        """The same as JSON, in which 5 and 5.0 differ."""
        return exact_json.dumps(self.profile(reference, org))

    def edit(self, reference: str, attributes: Mapping[str, Any], org: str | None = None) -> None:
        """Change attributes as an administrator would: the version moves. None removes one."""
        user = self.user(reference, org)
        merged = user.profile | dict(attributes)
        home = next(one for one in self._world.directories.values() if one.get(user.id) is user)
        home.replace(
            user, {name: value for name, value in merged.items() if value is not None}, self._clock()
        )

    def touch(self, reference: str, org: str | None = None) -> None:
        """Move a user's version and nothing else."""
        touch(self.user(reference, org), self._clock())

    def delete(self, reference: str, org: str | None = None) -> None:
        """Delete a user as an administrator would."""
        user = self.user(reference, org)
        next(one for one in self._world.directories.values() if one.get(user.id) is user).remove(user)

    def tokens(self) -> list[Token]:
        """The tokens that were issued and not yet dropped."""
        return list(self._world.book.tokens.values())

    def revoke_tokens(self) -> None:
        """End every token, as an administrator who resets the client does."""
        self._world.book.tokens.clear()

    def journal(self) -> list[Entry]:
        """The remembered requests, oldest first."""
        self._settle(self._clock())
        return list(self.log.entries)

    def stats(self) -> dict[str, Any]:
        """Counts since the start: requests, refusals of the rate limit, password writes, faults."""
        self._settle(self._clock())
        everybody = [user for directory in self._world.directories.values() for user in directory]
        return {
            "requests": self.log.counts["requests"],
            "tokenRequests": self.log.counts["tokenRequests"],
            "rateLimited": self.log.counts["rateLimited"],
            "passwordWrites": sum(len(user.writes) for user in everybody),
            "users": len(everybody),
            "usersWritten": sum(1 for user in everybody if user.writes),
            "statuses": {str(status): count for status, count in sorted(self.log.statuses.items())},
            "faults": {
                fault.value: self.log.faults[fault.value] for fault in FAULTS if self.log.faults[fault.value]
            },
        }
