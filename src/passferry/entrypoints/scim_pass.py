"""A target as those see it who pass requests on to it: each is looked at, written down and counted first."""

import asyncio
import contextlib
import uuid
from collections.abc import Collection
from dataclasses import dataclass, replace

import structlog

from passferry.domain.answers import Answer
from passferry.domain.change import is_uuid
from passferry.domain.outcome import Outcome
from passferry.domain.passed_on import Asked, Sending, asked, ended, intent, members_of
from passferry.domain.scim import NotScim
from passferry.domain.scim_query import Query
from passferry.domain.scim_show import Shown, resource
from passferry.entrypoints import scim_answers
from passferry.entrypoints.http_callers import Accepting
from passferry.entrypoints.scim_answers import Refused, failed
from passferry.ports import Clock, Found, Provider
from passferry.refusals import stopped
from passferry.store_ports import Caller, PassStore, StoreFull

READ_SECONDS = 5.0
"""For a look at the user beside what was asked for; a target that is away must not cost a password."""
MOST_LOOKS = 50
"""Members of a group that are looked up before one request."""
TOO_MANY = f"too many members at once: where users are protected by name, at most {MOST_LOOKS}"
log = structlog.get_logger("passferry.scim")


@dataclass(frozen=True, slots=True)
class Passing:
    """The port ``Provider``, for what one caller sends to one org. Raises ``NotAccepted`` and ``Refused``."""

    provider: Provider
    accept: Accepting
    passes: PassStore
    clock: Clock
    caller: Caller
    org: str
    foreign: bool  # ids may look like anything

    @property
    def page(self) -> int:
        """See the port."""
        return self.provider.page

    @property
    def giving_way(self) -> "Passing":
        """See the port."""
        return replace(self, provider=self.provider.giving_way)

    async def one(
        self, kind: str, resource_id: str, query: Query, *, fresh: bool = False
    ) -> Answer | Outcome:
        """See the port."""
        return await self.provider.one(kind, resource_id, query, fresh=fresh)

    async def search(self, kind: str, query: Query) -> Found | Answer | Outcome:
        """See the port."""
        return await self.provider.search(kind, query)

    async def send(
        self,
        method: str,
        kind: str,
        resource_id: str | None,
        body: str | None,
        version: str | None = None,
        *,
        part: str | None = None,
        again: bool = False,
    ) -> Answer | Outcome:
        """See the port. Nothing is sent of which the intent is not on disk.

        ``part``: what of ``body`` the caller asked for, where the rest is the target's own; only that is
        looked at. ``again``: it is sent for the same request of the caller as before, which was counted.
        Raises ``StoreFull``, and ``BadScim`` when what was asked for cannot be understood.
        """
        what = asked(method, kind, part or body)
        members = await self._members(kind, resource_id, what)
        await self._spare(kind, what.names, members)
        sending = Sending(uuid.uuid4().hex, self.caller.name, method, kind, resource_id, version)
        begun = intent(sending, self.clock.now(), what, members)
        counted = None if again else self.caller.rules.most_an_hour
        verdict = await self.passes.intend(self.org, begun, counted)
        if verdict is not None:
            if verdict.now:
                hint = f"passferry access resume {self.caller.name}"
                log.warning("source.stopped", source=self.caller.name, hint=hint)
            raise stopped()
        answer = await self.provider.send(method, kind, resource_id, body, version)
        try:
            await self.passes.note_ended(self.org, ended(sending, self.clock.now(), answer))
        except StoreFull as full:  # it is done all the same, which an error would deny
            log.error("passed.on.outcome.missing", org=self.org, id=sending.id, reason=str(full))
        return answer

    def forget(self) -> None:
        """See the port."""
        self.provider.forget()

    async def close(self) -> None:
        """See the port."""
        await self.provider.close()

    async def _spare(self, kind: str, names: Collection[str], members: Collection[str]) -> None:
        """Raise ``NotAccepted`` when a user gets a name, or a group gets or loses a member, that it may not.

        Members come by id; where users are listed by name, each is looked up.
        """
        never = self.accept.never(self.caller, self.org)
        if not never:
            return
        self.accept.spare(self.caller, self.org, *(names if kind == "Users" else members))
        if kind != "Groups" or not any(self._may_be_a_name(each) for each in never):
            return
        if len(members) > MOST_LOOKS:
            raise Refused(failed(413, TOO_MANY))
        for member in sorted(members):
            answer = await self._read("Users", member, absent=True)
            if answer is not None:
                user = self._user(answer)
                self.accept.spare(self.caller, self.org, user.id, user.user_name or "")

    def _may_be_a_name(self, entry: str) -> bool:
        """Whether what ``never`` lists may be a userName: ids of other targets may look like anything."""
        return self.foreign or not is_uuid(entry)

    def _user(self, answer: Answer) -> Shown:
        shown: Shown | None = None
        with contextlib.suppress(NotScim):  # told below, with nothing of it
            shown = resource(answer.text(), "")
        if shown is None or not shown.user_name:
            raise Refused(failed(502, "the target does not tell the user's name [target.answer.unusable]"))
        return shown

    async def _members(self, kind: str, resource_id: str | None, what: Asked) -> Collection[str]:
        """The members of a group that are added or removed; for that, it may have to be read."""
        if kind != "Groups" or what.leaves is None or resource_id is None:
            return what.members
        answer = await self._read(kind, resource_id)
        assert answer is not None  # noqa: S101  # not with absent
        with contextlib.suppress(NotScim):  # told below, with nothing of it
            return what.touched(members_of(answer.text()))
        raise Refused(failed(502, "the target's answer cannot be understood [target.answer.unusable]"))

    async def _read(self, kind: str, resource_id: str, *, absent: bool = False) -> Answer | None:
        """The resource as it is. ``absent``: None where there is none; else that is refused, too."""
        answer: Answer | Outcome | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READ_SECONDS):
                answer = await self.provider.one(kind, resource_id, Query(), fresh=True)
        if answer is None:
            raise Refused(failed(503, "the target does not answer", None, ((b"retry-after", b"5"),)))
        if isinstance(answer, Outcome):
            raise Refused(scim_answers.of_outcome(answer))
        if absent and answer.status in (404, 410):
            return None
        if not 200 <= answer.status < 300:
            raise Refused(scim_answers.of_target(answer))
        return answer
