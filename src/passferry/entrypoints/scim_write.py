"""PUT and PATCH of a user: its password as a change, the rest passed on where the org is a proxy."""

import asyncio
import contextlib

from passferry.accept import Request
from passferry.domain.answers import Answer as TargetAnswer
from passferry.domain.change import Change, Reference, State
from passferry.domain.outcome import Outcome
from passferry.domain.passed_on import asked
from passferry.domain.password import Password
from passferry.domain.scim import NotScim
from passferry.domain.scim_overlay import overlay
from passferry.domain.scim_query import Query
from passferry.domain.scim_show import Shown, bare, without_meta
from passferry.domain.scim_split import BadScim, Split, split_patch, split_user
from passferry.entrypoints import http_callers, scim_answers
from passferry.entrypoints.http_answers import Answer
from passferry.entrypoints.scim_answers import Refused, failed, says_version
from passferry.entrypoints.scim_call import READ_SECONDS, Call
from passferry.refusals import NotAccepted

TRIES = 3
"""Of a PUT that a client sent without a version, when the user's moves between our read and our write."""

_EVERYTHING = Query()


class _Away(Refused):
    """The target says nothing of the user now: delivery goes on trying, for days."""


async def write(call: Call) -> Answer:
    """Answer PUT or PATCH. Raises ``Refused``, ``BadScim``, ``Problem`` and ``NotAccepted``."""
    started, arrived_at = call.parts.clock.monotonic(), call.parts.clock.now()
    user_id, text = call.resource_id(), await call.text()
    split = split_user(text) if call.method == "PUT" else split_patch(text)
    passed_on = call.proxied and split.rest is not None
    if passed_on:
        _check_form(call, split)
        call.parts.accept.spare(call.caller, call.org, user_id, split.user_name or user_id)
    if split.password is None:
        return scim_answers.of_resource(await _without_password(call, user_id, split, passed_on=passed_on))
    await call.parts.accept.admit_change(call.caller, call.org)
    seen, undone = await _before(call, user_id, split, split.password, passed_on=passed_on)
    request = Request(
        org=call.org,
        user=Reference("id", user_id if call.foreign else user_id.lower()),
        password=split.password,
        arrived_at=arrived_at,  # the looks at the user may take long
        user_name=seen.user_name if seen is not None else split.user_name,
        admitted=True,
    )
    left = call.parts.max_wait - (call.parts.clock.monotonic() - started) if undone is None else 0.0
    change = await http_callers.taken(call.exchange, call.caller, request, call.parts.accept, max(0.0, left))
    call.provider.forget()
    if undone is not None:
        return scim_answers.beside(undone, change)
    refusal = scim_answers.refusal_of(change)
    if refusal is not None and not (passed_on and _waits_for_the_user(change)):
        return refusal
    before = seen or bare(user_id, split.user_name)
    shown = await _after(call, user_id, split.password, before, applied=change.state is State.APPLIED)
    return scim_answers.of_resource(shown, 200, scim_answers.of_change(change))


async def _before(
    call: Call, user_id: str, split: Split, password: Password, *, passed_on: bool
) -> tuple[Shown | None, Answer | None]:
    """What comes before the password: the user, and the error to which the rest came, if any.

    Raises when the password shall not be taken either.
    """
    seen, trouble = await _seen(call, user_id, fresh=passed_on)
    check(call, password, *_names(call, split, seen, passed_on=passed_on))
    if not passed_on:
        return seen, None
    if seen is None:
        return None, trouble
    _spare(call, user_id, seen)
    return await _tried(call, user_id, split, seen)


def _names(call: Call, split: Split, seen: Shown | None, *, passed_on: bool) -> list[str]:
    """The names that the user has, and gets: the old one counts too, since a rename may fail."""
    new = asked(call.method, call.kind, split.rest).names if passed_on else ()
    old = seen.user_name if seen is not None else split.user_name
    return [*([old] if old else []), *new]


def _check_form(call: Call, split: Split) -> None:
    if call.method == "PUT" and not split.user_name:
        raise BadScim("invalidValue", "userName is missing: PUT sends the whole user")
    if call.method == "PATCH":
        call.if_match()  # what the target cannot be asked for


async def _without_password(call: Call, user_id: str, split: Split, *, passed_on: bool) -> Shown:
    if not passed_on:
        call.parts.accept.admit_look(call.caller, call.org)
        return await _look(call, user_id, fresh=False)
    call.may_write()
    if call.method == "PATCH":
        await call.may_touch(user_id)
        return await _pass_on(call, user_id, split, None)
    seen = await _look(call, user_id, fresh=True)
    _spare(call, user_id, seen)
    return await _pass_on(call, user_id, split, seen)


async def _seen(call: Call, user_id: str, *, fresh: bool) -> tuple[Shown | None, Answer | None]:
    """The user; or why the target does not tell, which stops no password.

    But without an answer nobody can say that the version is right which a client names. Raises ``Refused``.
    """
    try:
        return await _look(call, user_id, fresh=fresh), None
    except _Away as away:
        if call.versions(b"if-match") is not None:
            raise
        return None, away.answer


async def _tried(call: Call, user_id: str, split: Split, seen: Shown) -> tuple[Shown, Answer | None]:
    """Pass on what is no password: the user as it is then, and why that was not done.

    The user's owner has the new password already, wherever it was changed: so whatever becomes of the rest,
    the password is taken. Not so at another version than the client's: raises ``Refused``.
    """
    try:
        call.may_write()
        return await _pass_on(call, user_id, split, seen), None
    except NotAccepted as refusal:
        return seen, scim_answers.of_refusal(refusal)
    except Refused as refused:
        if refused.answer.status == 412 and call.versions(b"if-match") is not None:
            raise
        return seen, refused.answer


def _spare(call: Call, user_id: str, seen: Shown) -> None:
    """As ``Call.may_touch``, with the user at hand."""
    if not call.parts.accept.never(call.caller, call.org):
        return
    if not seen.user_name:
        raise Refused(failed(502, "the target does not tell the user's name [target.answer.unusable]"))
    call.parts.accept.spare(call.caller, call.org, user_id, seen.id, seen.user_name)


def _waits_for_the_user(change: Change) -> bool:
    """Whether it is parked because the user is inactive.

    Who deactivates a user with the very same request has what was asked for; an error would deny that.
    """
    inactive = change.error is not None and change.error.code == "user.inactive"
    return change.state is State.PARKED and inactive


def check(call: Call, password: Password, *user_names: str) -> None:
    """Ask the policy before anything is done: here the user's names are known, which an id does not tell.

    Raises ``NotAccepted``.
    """
    named = [Reference("userName", name) for name in user_names]
    users: list[Reference] | list[None] = named or [None]
    found = [each for user in users for each in call.parts.accept.violations(call.org, user, password)]
    violations = tuple(dict.fromkeys(found))
    if violations:
        raise NotAccepted("policy", "The password breaks the policy.", violations=violations)


async def _pass_on(call: Call, user_id: str, split: Split, seen: Shown | None) -> Shown:
    """Bring what is no password to the target; the user as it is then. Raises ``Refused``.

    PUT is laid over the user as it was ``seen``, and over a newer one when somebody else was faster.
    """
    for tries in range(TRIES):
        body, version = split.rest, call.if_match() if call.method == "PATCH" else None
        if seen is not None and split.rest is not None and call.method == "PUT":
            body, version = _overlaid(seen, split.rest), seen.tag
        answer = await call.provider.send(
            call.method, call.kind, user_id, body, version, part=split.rest, again=tries > 0
        )
        if isinstance(answer, TargetAnswer) and answer.status == 204:
            answer = await call.provider.one(call.kind, user_id, _EVERYTHING, fresh=True)
        try:
            return call.shown(answer, wrote=True)
        except Refused as refused:
            refusal = scim_answers.withheld(refused.answer, split.password)
        follows = call.method == "PUT" and call.versions(b"if-match") is None and tries < TRIES - 1
        if not follows or refusal.status != 412:
            break
        before, seen = seen, await _look(call, user_id, fresh=True)
        if isinstance(answer, TargetAnswer) and _is_of_something_else(answer, before, seen):
            taken = scim_answers.of_target(answer, names=True, wrote=True)
            raise Refused(scim_answers.withheld(taken, split.password))
    raise Refused(refusal)


def _is_of_something_else(answer: TargetAnswer, before: Shown | None, now: Shown) -> bool:
    """Whether a conflict, which need not be one of versions, came though the user is at the same version.

    Then it is one of names (RFC 7644 §3.12).
    """
    plain = answer.status == 409 and not says_version(answer)
    return plain and before is not None and before.version == now.version


def _overlaid(seen: Shown, rest: str) -> str:
    """See ``overlay``. Raises ``BadScim`` for what was sent, ``Refused`` for what the target has."""
    with contextlib.suppress(NotScim):  # told below, with nothing of it
        return overlay(seen.text, rest)
    raise Refused(failed(502, "the user as the target has it cannot be understood [target.answer.unusable]"))


async def _look(call: Call, user_id: str, *, fresh: bool) -> Shown:
    """The user as it is, at the version that the client names. Raises ``Refused``."""
    wanted = call.versions(b"if-match")
    answer = await _one(call, user_id, fresh=fresh or wanted is not None)  # what was kept may be older by now
    if answer is None:
        raise _Away(failed(503, "the target does not answer", None, ((b"retry-after", b"5"),)))
    shown = _told(call, answer)
    if wanted is None or shown.version in wanted:
        return shown
    raise Refused(failed(412, "the user is at another version", "invalidVers"))


def _told(call: Call, answer: TargetAnswer | Outcome) -> Shown:
    """The user in ``answer``. Only one that says that there is no such user says anything: ``Refused``."""
    try:
        return call.shown(answer)
    except Refused as refused:
        error = refused.answer
    raise (Refused if error.status == 404 else _Away)(error)


async def _one(call: Call, user_id: str, *, fresh: bool) -> TargetAnswer | Outcome | None:
    """The user, or None when that takes too long."""
    try:
        async with asyncio.timeout(READ_SECONDS):
            return await call.provider.one(call.kind, user_id, _EVERYTHING, fresh=fresh)
    except TimeoutError:
        return None


async def _after(call: Call, user_id: str, password: Password, before: Shown, *, applied: bool) -> Shown:
    """The user once its password was taken. Never an error, since the change is committed.

    Unless it is ``applied``, the user is still as it was ``before``, at a version that will not last.
    """
    answer = await _one(call, user_id, fresh=True) if applied else None
    shown = None
    if answer is not None:
        with contextlib.suppress(Refused):  # the target does not tell now
            shown = call.shown(answer)
    shown = shown or without_meta(before)
    if password.within(shown.text + (shown.tag or "")):
        return bare(user_id, shown.user_name, password)
    return shown
