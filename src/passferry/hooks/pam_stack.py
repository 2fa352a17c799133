"""A stack of passwords in PAM's words, and the ways of a change through it. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache

_LINE = re.compile(r"\s*-?password\s+(\[[^\]]*\]|\S+)\s+(\S+)\s*([^#]*)", re.IGNORECASE)
_INCLUDE = re.compile(r"@include\s+(\S+)")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a password stack."""

    place: str  # file and number
    control: str
    module: str  # without folder and .so
    arguments: str


def entries(name: str, text: str) -> list[Entry]:
    """The password stack in the text of one file, in order; Debian's ``@include`` is an ``include``."""
    found = []
    for number, line in enumerate(text.replace("\\\n", " ").splitlines(), 1):
        match, whole = _LINE.match(line), _INCLUDE.match(line)
        if whole is not None:
            found.append(Entry(f"{name}:{number}", "include", whole[1], ""))
        if match is not None:
            module = match[2].rpartition("/")[2].removesuffix(".so")
            found.append(Entry(f"{name}:{number}", match[1].lower(), module, match[3]))
    return found


def with_included(stack: Iterable[Entry], files: Mapping[str, Sequence[Entry]]) -> Iterator[Entry]:
    """A stack as libpam reads it: with the lines that it includes, but for those of a ``substack``.

    Args:
        stack: the lines of one file.
        files: the lines of the others by their names; what is not there, or includes itself, stays as it is.
    """
    for entry in stack:
        if entry.control == "include" and entry.module in files:
            others = {name: lines for name, lines in files.items() if name != entry.module}
            yield from with_included(files[entry.module], others)
        else:
            yield entry


_WORDS = {
    "required": {"success": "ok", "default": "bad"},
    "requisite": {"success": "ok", "default": "die"},
    "sufficient": {"success": "done", "default": "ignore"},
    "optional": {"success": "ok", "default": "ignore"},
}
"""What the words stand for (pam.conf(5)); ``substack``, for one, is taken for optional."""
_SUCCEED = {"pam_unix", "pam_permit", "pam_pwquality", "pam_cracklib", "pam_passwdqc", "pam_pwhistory"}
"""What succeeds when a local password changes. Others may or may not: conditions, other directories."""
_CONDITIONS = {"pam_succeed_if", "pam_localuser", "pam_usertype", "pam_listfile"}
"""What changes no password, and can spare some accounts what follows."""
_NO_FAILURE = {"success", "new_authtok_reqd", "ignore"}
"""Codes that no module gives that refuses something."""


def _said(entry: Entry) -> dict[str, str]:
    """What a control says of each code that it names; ``default`` is always there."""
    said = dict(re.findall(r"(\w+)\s*=\s*(\w+)", entry.control))
    return {"default": "bad"} | _WORDS.get(entry.control, said or _WORDS["optional"])


def _rest(said: Mapping[str, str], but: Set[str]) -> set[str]:
    return {"bad" if said[code] in ("ok", "done") else said[code] for code in said.keys() - but}


def failure(entry: Entry) -> set[str]:
    """What may follow when the module of an entry fails."""
    return _rest(_said(entry), _NO_FAILURE)


def _actions(entry: Entry, ours: bool) -> set[str]:
    """What may follow from an entry: what its control says of success, and of the rest."""
    said = _said(entry)
    if entry.module == "pam_deny":
        return failure(entry)
    success = said.get("success", said["default"])
    return {success} if ours or entry.module in _SUCCEED else _rest(said, {"success"}) | {success}


def vetoes(stack: Sequence[Entry], at: int) -> bool:
    """Whether a change is refused, before ``pam_unix`` makes it, when the module of line ``at`` fails."""

    @cache
    def denied(at: int, bad: bool) -> bool:
        if at >= len(stack) or stack[at].module == "pam_unix":
            return bad and at >= len(stack)
        return all(follows(at, action, bad) for action in _actions(stack[at], ours=False))

    def follows(at: int, action: str, bad: bool) -> bool:
        if action.isdigit():
            return denied(at + 1 + int(action), bad)
        return action == "die" or (action != "done" and denied(at + 1, bad or action == "bad"))

    ends = {"die"} | {action for action in failure(stack[at]) if action.isdigit()}
    return failure(stack[at]) <= ends and all(follows(at, action, False) for action in ends)


def jumps_over(stack: Sequence[Entry], at: int) -> Iterator[Entry]:
    """The lines that may jump over line ``at``; not conditions that go no farther than to ``pam_unix``."""
    unix = next((number for number, entry in enumerate(stack) if entry.module == "pam_unix"), len(stack))
    for number, entry in enumerate(stack[:at]):
        jumps = [int(action) for action in _said(entry).values() if action.isdigit()]
        farthest = number + 1 + max(jumps, default=0)
        if farthest > (max(at, unix) if entry.module in _CONDITIONS else at):
            yield entry


def passed(stack: Sequence[Entry], ours: frozenset[int]) -> frozenset[int]:
    """The lines on any way through a stack on which ``pam_unix``, if it is there, runs, and that ends well.

    As libpam goes it when it first asks the modules whether they are ready: a jump is then no success.

    Args:
        stack: its lines.
        ours: the numbers of those that call the hook; they succeed.
    """

    @cache
    def onward(at: int, good: bool, changed: bool) -> frozenset[int] | None:
        if at >= len(stack):
            return frozenset() if at == len(stack) and good and changed else None
        changed = changed or stack[at].module == "pam_unix"
        ways = []
        for action in _actions(stack[at], at in ours):
            if action in ("bad", "die"):
                continue
            if action == "done":
                ways.append(frozenset[int]() if changed else None)
            elif action.isdigit():
                ways.append(onward(at + 1 + int(action), good, changed))
            else:
                ways.append(onward(at + 1, action != "reset" and (good or action == "ok"), changed))
        ended = [way for way in ways if way is not None]
        return frozenset({at}).union(*ended) if ended else None

    return onward(0, False, all(entry.module != "pam_unix" for entry in stack)) or frozenset()
