"""``passferry hook samba``: the script of ``samba-tool user syncpasswords``.

Samba starts it without arguments for each account that changed, gives the account on standard input, and goes
on only after a reply that starts with ``DONE-EXIT: ``. It reads standard output and error as one; what comes
before counts as failure, ends its loop, and it sends the same account again on its next run.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from passferry.hooks import journal
from passferry.hooks.arguments import nothing_more, options
from passferry.hooks.calling import gateway_for
from passferry.hooks.codes import DONE, FAILED
from passferry.hooks.conceal import conceal
from passferry.hooks.gateway import Gateway, SourceChange
from passferry.hooks.gnupg import REMEDY, gnupg_home, has_no_secret_key
from passferry.hooks.ldif import MOST_BYTES, NotLdif, read_entry
from passferry.hooks.samba_account import HandOver, LeaveAlone, NotSetUp, decide, guid_of
from passferry.hooks.samba_seen import SeenFile, SeenUnusable, open_seen
from passferry.hooks.spool import SpoolUnusable
from passferry.hooks.verdicts import Answer, Verdict

DEFAULT_ATTRIBUTE = "userPrincipalName"


class _NotDone(Exception):
    """The account has to be sent again; why."""


def run(arguments: Sequence[str]) -> int:
    """0: settled, and Samba was told so. 1: not settled; Samba is told why, and sends it again."""
    found = options(arguments, {"self-test"}, {"config", "user-attribute"})
    nothing_more(found)
    attribute = found.values.get("user-attribute", DEFAULT_ATTRIBUTE)
    if "self-test" in found.flags:
        from passferry.hooks.self_test_samba import run as self_test

        return self_test(found.values, attribute)
    conceal()
    problem = ""
    with _quiet():
        try:
            gateway = gateway_for("samba", found.values, os.environ)
            if gateway is None:  # it has said so
                return FAILED
            reply = _settle(gateway, attribute)
        except _NotDone as error:
            problem = str(error)
            journal.complain("samba", problem)
    if problem:
        print(f"passferry hook samba: {problem}")
        return FAILED
    print(f"DONE-EXIT: {reply}")
    return DONE


def _settle(gateway: Gateway, attribute: str) -> str:
    """Read the account, hand its password over if it is new, and say what became of it."""
    try:
        entry = read_entry(sys.stdin.buffer.read(MOST_BYTES + 1))
        gateway.spool.check()  # its folder holds what was seen, too
        with open_seen(gateway.spool.folder) as file:
            guid = guid_of(entry)
            decision = decide(entry, file.of(guid), attribute)
            if isinstance(decision, LeaveAlone):
                return _leave_alone(file, guid, entry.text("sAMAccountName") or "", decision)
            if decision.complaint:
                journal.complain("samba", f"{decision.user!a}: {decision.complaint}")
            answer = _hand_over(gateway, decision, file.life)
            file.remember(guid, decision.seen)
            return f"{answer.verdict.value}: {answer.message}"
    except (NotLdif, NotSetUp, SeenUnusable, SpoolUnusable) as error:
        problem = str(error)
    raise _NotDone(problem)


def _leave_alone(file: SeenFile, guid: str, account: str, found: LeaveAlone) -> str:
    """Remembered as passed over, not as seen: it is told of again when Samba sends it again."""
    if found.encrypted and has_no_secret_key(gnupg_home(os.environ)):
        raise NotSetUp(f"the new password of {account!a} cannot be decrypted: {REMEDY}")
    if found.remedy:
        journal.complain("samba", f"{account!a}: {found.why}: {found.remedy}")
        file.unread(guid, account, found.why)
    else:
        file.read(guid)
    return f"left alone: {found.why}"


def _hand_over(gateway: Gateway, change: HandOver, life: str) -> Answer:
    answer = gateway.push(SourceChange(change.user, change.password, change.changed_at, change.key(life)))
    journal.note("samba", change.user, answer)
    if answer.verdict is Verdict.LOST:
        raise _NotDone(f"{answer.message} ({answer.why})")
    return answer


@contextmanager
def _quiet() -> Iterator[None]:
    """Whatever a library might say on standard error goes nowhere."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
