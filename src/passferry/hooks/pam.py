"""``passferry hook pam``: behind ``pam_exec expose_authtok`` or ``pam_script``, before or after ``pam_unix``.

``--check`` is a veto, ``--push`` hands the password over. The environment of a PAM module may be that of an
unprivileged caller (``passwd`` is set-uid): nothing in it is a setting, and it is emptied before OpenSSL, for
one, could look at it. Hence the late imports.
"""

import contextlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from passferry.hooks import journal
from passferry.hooks.arguments import nothing_more, options
from passferry.hooks.codes import DONE, FAILED, SET_UP_WRONGLY
from passferry.hooks.conceal import conceal, taken_from_environment
from passferry.hooks.verdicts import Verdict

if TYPE_CHECKING:
    from passferry.domain.password import Password
    from passferry.hooks.gateway import Gateway

CUT_AT = 511
"""Bytes that pam_exec passes on at most (PAM_MAX_RESP_SIZE - 1); a password of that length may be cut off."""
_PASSED_ON = ("PAM_AUTHTOK", "PAM_OLDAUTHTOK", "PAM_USER", "PAM_TYPE")


@dataclass(frozen=True, slots=True)
class Misuse:
    """Why a call holds no password. ``shown`` is for the user, ``what`` for the log."""

    what: str
    shown: str = SET_UP_WRONGLY


def password_of(raw: bytes, module: Literal["pam_exec", "pam_script"]) -> "Password | Misuse":
    """The password in what a PAM module passed on, exactly as it is. Pure."""
    from passferry.domain.password import Password

    if not raw and module == "pam_exec":
        return Misuse("pam_exec passed nothing on: it needs expose_authtok, and Linux-PAM 1.6.0 or newer")
    if not raw:
        return Misuse("pam_script passed an empty PAM_AUTHTOK on: no module before it asked for a password")
    if module == "pam_exec" and len(raw) >= CUT_AT:
        return Misuse(
            f"a password of {CUT_AT} bytes or more, which pam_exec may have cut off",
            f"The new password is too long: at most {CUT_AT - 1} bytes can be passed on.",
        )
    text = None
    with contextlib.suppress(UnicodeDecodeError):
        text = raw.decode()
    if text is None:
        return Misuse("a password that is no UTF-8", "The new password is not valid UTF-8.")
    return Password(text)


def run(arguments: Sequence[str]) -> int:
    """0: go on. 1: refused, or (``--push``) not handed over."""
    token, _, user, kind = taken_from_environment(*_PASSED_ON)
    os.environ.clear()
    conceal()
    found = options(arguments, {"check", "push", "self-test"}, {"config"})
    nothing_more(found)
    if "self-test" in found.flags:
        from passferry.hooks.self_test_pam import run as self_test

        return self_test(found.values)
    mode = found.one_of("check", "push")
    if kind != "password":  # a line in another stack than that of passwords
        return DONE
    if not user:
        return _misused(Misuse("PAM_USER is not set"))
    if token is None:
        password = password_of(sys.stdin.buffer.read(64 * 1024), "pam_exec")
    else:
        password = password_of(os.fsencode(token), "pam_script")
    if isinstance(password, Misuse):
        return _misused(password)
    from passferry.hooks.calling import gateway_for

    gateway = gateway_for("pam", found.values, {})
    if gateway is None:
        return FAILED
    return _check(gateway, user, password) if mode == "check" else _push(gateway, user, password)


def _misused(misuse: Misuse) -> int:
    journal.complain("pam", misuse.what)
    print(misuse.shown)
    return FAILED


def _check(gateway: "Gateway", user: str, password: "Password") -> int:
    answer = gateway.check(user, password)
    journal.note_check("pam", answer)
    if answer.verdict is Verdict.REFUSED:
        print(answer.message)
        return FAILED
    return DONE


def _push(gateway: "Gateway", user: str, password: "Password") -> int:
    from uuid import uuid4

    from passferry.hooks.gateway import SourceChange

    answer = gateway.push(SourceChange(user, password, None, str(uuid4())))
    journal.note("pam", user, answer)
    if answer.verdict in (Verdict.REFUSED, Verdict.LOST):
        print(answer.message)
        return FAILED
    return DONE
