"""What a hook tells the machine's log, since nobody may be looking at its output: never a password."""

import syslog

from passferry.hooks.verdicts import UNCHECKED, Answer, Verdict

_LEVELS = {
    Verdict.ACCEPTED: syslog.LOG_INFO,
    Verdict.OLDER: syslog.LOG_INFO,
    Verdict.REFUSED: syslog.LOG_WARNING,
    Verdict.SPOOLED: syslog.LOG_WARNING,
    Verdict.LOST: syslog.LOG_ERR,
}


def note(source: str, user: str, answer: Answer) -> None:
    """One line about a change of ``user``, and why it is not simply accepted."""
    why = f" ({answer.why})" if answer.why else ""
    _tell(_LEVELS[answer.verdict], f"{source}: the password of {user!a}: {answer.verdict.value}{why}")


def note_check(source: str, answer: Answer) -> None:
    """One line if the gateway gave no verdict."""
    if answer.why and (answer.verdict is Verdict.ACCEPTED or answer.message == UNCHECKED):
        word = "let through" if answer.verdict is Verdict.ACCEPTED else "refused"
        _tell(syslog.LOG_ERR, f"{source}: a password was {word} without a check ({answer.why})")


def note_letter(name: str, what: str, why: str) -> None:
    """One line about a letter that ended without being taken. ``name`` is its file's."""
    _tell(syslog.LOG_WARNING, f"spool: {name}: {what} ({why})")


def complain(source: str, what: str) -> None:
    """The hook is set up wrongly, or was called as nobody should."""
    _tell(syslog.LOG_ERR, f"{source}: {what}")


def _tell(level: int, text: str) -> None:
    syslog.openlog("passferry", syslog.LOG_PID, syslog.LOG_AUTHPRIV)
    syslog.syslog(level, text)
