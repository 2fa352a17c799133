"""Who calls, for which org, and a change of theirs taken and waited for: what all routes do alike."""

import contextlib
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Protocol

from passferry.accept import Request, Taken
from passferry.domain.change import Change, Reference, State
from passferry.domain.password import Password
from passferry.domain.policy import Violation
from passferry.entrypoints.http_guard import Exchange
from passferry.entrypoints.http_parse import Problem
from passferry.store_ports import Caller, StoreFull

CHALLENGE = (b"www-authenticate", b'Bearer realm="passferry"')


class Accepting(Protocol):
    """The use case accept, as ``passferry.accept.Accept`` has it."""

    async def accept(self, caller: Caller, request: Request) -> Taken:
        """Take a change, or raise ``NotAccepted``."""

    async def admit_change(self, caller: Caller, org: str) -> None:
        """Let a caller send a change later, as part of more, or raise ``NotAccepted``."""

    def check(
        self, caller: Caller, org: str, user: Reference | None, password: Password
    ) -> Sequence[Violation]:
        """The policy's verdict on a password, or raise ``NotAccepted``: it was asked too fast."""

    def admit_look(self, caller: Caller, org: str) -> None:
        """Let a caller ask something, or raise ``NotAccepted``."""

    def admit(self, caller: Caller, org: str) -> None:
        """Let a caller change what is no password, or raise ``NotAccepted``."""

    def spare(self, caller: Caller, org: str, *names: str) -> None:
        """Raise ``NotAccepted`` when the caller may not touch the user with these names."""

    def never(self, caller: Caller, org: str) -> frozenset[str]:
        """The folded names of the users that a caller may not touch."""

    def violations(self, org: str, user: Reference | None, password: Password) -> Sequence[Violation]:
        """The policy's verdict on a password."""

    async def wait(self, change_id: str, seconds: float) -> Change:
        """The change as it is after at most ``seconds``."""


async def caller(
    exchange: Exchange,
    key: str | None,
    access: Callable[[str], Awaitable[Caller | None]],
    roles: Collection[str],
) -> Caller:
    """The holder of ``key``, who has one of ``roles``. Raises ``Problem``."""
    if key is None:
        raise Problem(401, "access.key.missing", "an access key is needed", (CHALLENGE,))
    found = await access(key)
    if found is None:
        challenge = (CHALLENGE[0], CHALLENGE[1] + b', error="invalid_token"')
        raise Problem(401, "access.key.refused", "the access key is not known or was revoked", (challenge,))
    exchange.caller = found
    if found.role not in roles:
        raise Problem(403, "role.forbidden", "this key's role does not allow it")
    return found


def org(who: Caller, named: str | None, orgs: Collection[str]) -> str:
    """The org in the path; without one `default`, else the only one that the key may use.

    Raises ``Problem`` unless ``who`` may use it.
    """
    if named is None:
        usable = [each for each in orgs if who.may_use(each)]
        named = usable[0] if len(usable) == 1 else "default"
    allow(who, named, orgs)
    return named


def allow(who: Caller, named: str, orgs: Collection[str]) -> None:
    """Raise ``Problem`` unless ``who`` may use the org ``named``."""
    if named not in orgs or not who.may_use(named):
        # The same words for both: nobody learns which orgs there are.
        raise Problem(403, "org.forbidden", "this key may not use that org, or there is no such org")


async def taken(
    exchange: Exchange, who: Caller, request: Request, accept: Accepting, seconds: float
) -> Change:
    """The change that stands for ``request``, as it is after at most ``seconds``. Raises ``NotAccepted``."""
    change = (await accept.accept(who, request)).change
    exchange.change_id = change.id
    if change.state in (State.PENDING, State.DELIVERING) and seconds > 0:
        with contextlib.suppress(StoreFull):  # it is committed; only the look at it failed
            change = await accept.wait(change.id, seconds)
    return change
