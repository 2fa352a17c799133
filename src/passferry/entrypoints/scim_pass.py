"""A target as those see it who pass requests on to it: each is looked at, written down and counted first."""

import asyncio
import contextlib
import uuid
from collections.abc import Collection
from dataclasses import dataclass

import structlog

from passferry.domain.answers import Answer
from passferry.domain.outcome import Outcome
from passferry.domain.passed_on import Asked, Sending, asked, ended, intent, members_of
from passferry.domain.scim import NotScim
from passferry.domain.scim_query import Query
from passferry.entrypoints import scim_answers
from passferry.entrypoints.http_callers import Accepting
from passferry.entrypoints.scim_answers import Refused, failed
from passferry.ports import Clock, Found, Provider
from passferry.refusals import stopped
from passferry.store_ports import Caller, PassStore, StoreFull

READ_SECONDS = 5.0
"""For a look at the user beside what was asked for; a target that is away must not cost a password."""
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

    async def one(
        self, kind: str, resource_id: str, query: Query, *, fresh: bool = False
    ) -> Answer | Outcome:
        """See the port."""
        return await self.provider.one(kind, resource_id, query, fresh=fresh)

    async def search(self, kind: str, query: Query) -> Found | Answer | Outcome:
        """See the port."""
        return await self.provider.search(kind, query)

    async def send(
        self, method: str, kind: str, resource_id: str | None, body: str | None, version: str | None = None
    ) -> Answer | Outcome:
        """See the port. Nothing is sent of which the intent is not on disk. Raises ``StoreFull``."""
        what = asked(method, kind, body)
        members = await self._members(kind, resource_id, what)
        sending = Sending(uuid.uuid4().hex, self.caller.name, method, kind, resource_id, version)
        begun = intent(sending, self.clock.now(), what, members)
        verdict = await self.passes.intend(self.org, begun, self.caller.rules.most_an_hour)
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

    async def _members(self, kind: str, resource_id: str | None, what: Asked) -> Collection[str]:
        """The members of a group that are added or removed; for that, it may have to be read."""
        if kind != "Groups" or what.leaves is None or resource_id is None:
            return what.members
        answer = await self._read(kind, resource_id)
        with contextlib.suppress(NotScim):  # told below, with nothing of it
            return what.touched(members_of(answer.text()))
        raise Refused(failed(502, "the target's answer cannot be understood [target.answer.unusable]"))

    async def _read(self, kind: str, resource_id: str) -> Answer:
        answer: Answer | Outcome | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READ_SECONDS):
                answer = await self.provider.one(kind, resource_id, Query(), fresh=True)
        if answer is None:
            raise Refused(failed(503, "the target does not answer", None, ((b"retry-after", b"5"),)))
        if isinstance(answer, Outcome):
            raise Refused(scim_answers.of_outcome(answer))
        if not 200 <= answer.status < 300:
            raise Refused(scim_answers.of_target(answer))
        return answer
