"""``passferry hook ltb``: the prehook and the posthook of LTB Self Service Password and Service Desk.

They pass login and passwords as arguments, which `ps` shows to everybody: what is behind the options is
overwritten before this module is loaded (``command``). The first line of the output is shown to the user.
"""

import base64
import binascii
import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

from passferry.domain.password import Password
from passferry.hooks import journal
from passferry.hooks.arguments import Usage, nothing_more, options
from passferry.hooks.calling import gateway_for
from passferry.hooks.codes import DONE, FAILED, SET_UP_WRONGLY
from passferry.hooks.conceal import conceal
from passferry.hooks.gateway import Gateway, SourceChange
from passferry.hooks.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class Called:
    """What the portal passes on; the old password is not looked at."""

    login: str
    password: Password


class Refused(Exception):
    """A call that holds no password. The text is for the user, ``what`` for the log."""

    def __init__(self, shown: str, what: str) -> None:
        super().__init__(shown)
        self.what = what


def called(arguments: Sequence[str], *, plain: bool) -> Called:
    """Login and password in ``LOGIN NEW [OLD]``. Pure.

    Args:
        arguments: as the system passed them.
        plain: passwords are not in base64.

    Raises:
        Refused: they are something else.
    """
    if len(arguments) not in (2, 3):
        raise _wrong_set_up("LOGIN NEW [OLD] are expected behind the options")
    login = arguments[0]
    if not login or not login.isprintable():
        raise _wrong_set_up("the login is empty, or no text")
    raw = os.fsencode(arguments[1]) if plain else _decoded(arguments[1])
    if not raw:
        raise _wrong_set_up("the new password is empty")
    text = None
    with contextlib.suppress(UnicodeDecodeError):
        text = raw.decode()
    if text is None:
        raise _wrong_set_up("the new password is no UTF-8")
    return Called(login, Password(text))


def _decoded(text: str) -> bytes:
    with contextlib.suppress(binascii.Error, ValueError):
        return base64.b64decode(text, validate=True)
    raise _wrong_set_up(
        "the new password is not in base64: set $prehook_password_encodebase64 and"
        " $posthook_password_encodebase64, or give --plain"
    )


def _wrong_set_up(what: str) -> Refused:
    return Refused(SET_UP_WRONGLY, what)


def run(arguments: Sequence[str]) -> int:
    """0: go on. 1: refused, or (``--post``) not handed over; the first line of the output says why."""
    conceal()
    found = options(arguments, {"pre", "post", "base64", "plain", "self-test"}, {"config"})
    if "self-test" in found.flags:
        from passferry.hooks.self_test_ltb import run as self_test

        nothing_more(found)
        return self_test(found.values)
    mode = found.one_of("pre", "post")
    if not found.closed and found.rest[:1] and found.rest[0].startswith("-"):
        raise Usage("end the hook's command with --: a login may begin with -")
    if {"base64", "plain"} <= found.flags:
        raise Usage("give either --base64 or --plain")
    problem = None
    try:
        call = called(found.rest, plain="plain" in found.flags)
    except Refused as refused:
        problem = refused
    if problem is not None:
        journal.complain("ltb", problem.what)
        print(problem)
        return FAILED
    gateway = gateway_for("ltb", found.values, os.environ)
    if gateway is None:
        return FAILED
    return _check(gateway, call) if mode == "pre" else _push(gateway, call)


def _check(gateway: Gateway, call: Called) -> int:
    answer = gateway.check(call.login, call.password)
    journal.note_check("ltb", answer)
    if answer.verdict is Verdict.REFUSED:
        print(answer.message)
        return FAILED
    return DONE


def _push(gateway: Gateway, call: Called) -> int:
    answer = gateway.push(SourceChange(call.login, call.password, None, str(uuid4())))
    journal.note("ltb", call.login, answer)
    print(answer.message)
    return FAILED if answer.verdict in (Verdict.REFUSED, Verdict.LOST) else DONE
