"""The use case accept: one change in, checked, sealed, committed; then the caller is answered.

(Signatures are settled; the inside is being written.)
"""

from collections.abc import Sequence
from dataclasses import dataclass

from passferry.domain.change import Change, Reference
from passferry.domain.password import Password
from passferry.domain.policy import Violation
from passferry.ports import Caller


@dataclass(frozen=True, slots=True)
class Request:
    """A change as a source asks for it. ``changed_at`` is epoch seconds."""

    org: str
    user: Reference
    password: Password
    changed_at: float | None = None
    idempotency_key: str | None = None
    bulk: bool = False


class NotAccepted(Exception):
    """Nothing was stored. ``code`` is stable and public; so is the message. ``retry_after`` in seconds: send again."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retry_after: float | None = None,
        violations: Sequence[Violation] = (),
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.retry_after = code, message, retry_after
        self.violations = tuple(violations)


# codes of NotAccepted and their HTTP status:
#   policy (violations listed) 400 · changed.at.future 400 · change.stale 409 · idempotency.key.reused 409
#   source.too.fast 429 · queue.full 503 · disk.full 503 · shutting.down 503


@dataclass(frozen=True, slots=True)
class Taken:
    """The change that stands for the request; ``replayed``: it existed before."""

    change: Change
    replayed: bool


class Accept:
    """See the module."""

    async def accept(self, caller: Caller, request: Request) -> Taken:
        """Check, seal, commit (sharing the commit with concurrent callers). Raises ``NotAccepted``."""
        raise NotImplementedError

    async def wait(self, change_id: str, seconds: float) -> Change:
        """The change when it has ended or is parked, or its next attempt is known to lie beyond ``seconds``, or they are over."""
        raise NotImplementedError
