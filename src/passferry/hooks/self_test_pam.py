"""The self-test of PAM: what the files in /etc/pam.d say of the hook. Judging their text is pure."""

import os
import pwd
import re
import stat
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from passferry.hooks import self_test
from passferry.hooks.arguments import Usage, options
from passferry.hooks.pam_stack import Entry, entries, failure, jumps_over, passed, vetoes, with_included
from passferry.hooks.self_test import Check, fail, ok, warn
from passferry.hooks.settings import HookSettings

FOLDER = Path("/etc/pam.d")
_PAGE = "docs/sources/pam.md has the lines to paste"
_INCLUDED = "put it into the file that is included before it, or include that by substack"
_VERSION = re.compile(r"(?:\d+:)?(\d+)\.(\d+)")


def judge(
    lines: Sequence[Entry],
    scripts: Mapping[str, str],
    version: tuple[int, int] | None,
    files: Mapping[str, Sequence[Entry]] = MappingProxyType({}),
) -> list[Check]:
    """What is right and wrong with the lines of one file that call the hook.

    Args:
        lines: its own; what calls the hook in a file that it includes is judged with that file.
        scripts: the text of each ``pam_script_passwd`` by its folder.
        version: of Linux-PAM, if it is known.
        files: the lines of the others by their names.
    """
    stack = list(with_included(lines, files))
    unix = next((number for number, entry in enumerate(stack) if entry.module == "pam_unix"), None)
    calls = {number: _called(entry, scripts) for number, entry in enumerate(stack)}
    ours = {number: words for number, words in calls.items() if words is not None}
    passable = passed(stack, frozenset(ours))
    checks: list[Check] = []
    for number, words in ours.items():
        if stack[number] not in lines:
            continue
        entry, before = stack[number], None if unix is None else number < unix
        wrong = [*_of_options(entry, words)] or [
            *_of_exec(entry, words, version),
            *_of_order(entry, words, before, vetoes(stack, number)),
            *(
                list(_of_way(entry, number, passable, _PAGE if stack == lines else _INCLUDED))
                or _of_jumps(entry, words, jumps_over(stack, number))
            ),
        ]
        checks += wrong or [ok(f"{entry.place} calls the hook as it should")]
    return checks


_CALL = re.compile(
    r"""passferry(?:["'],\s*["']hook["'],\s*["']pam["']([^\]]*)|\s+hook\s+pam(?!\S)([^\n]*))"""
)
"""The hook's command line, or its list of arguments in Python; what is behind ``pam``."""


_COMMENT = re.compile(r"^[ \t]*#(?!!).*$", re.MULTILINE)


def called_in(text: str) -> list[str] | None:
    """The arguments that a script or a line gives to the hook; None if it does not call it."""
    text = _COMMENT.sub("", text)
    match = _CALL.search(text)
    if match is not None:
        return re.findall(r"""[^\s"',\[\]]+""", match[1] or match[2] or "")
    modes = [mode for mode in ("--check", "--push") if mode in text]  # in words of the script's own
    return modes if "passferry" in text and modes else None


def _called(entry: Entry, scripts: Mapping[str, str]) -> list[str] | None:
    return called_in(
        scripts.get(script_folder(entry), "") if entry.module == "pam_script" else entry.arguments
    )


def script_folder(entry: Entry) -> str:
    """Where a ``pam_script`` line finds its scripts."""
    match = re.search(r"(?:^|\s)dir=(\S+)", entry.arguments)
    return match[1] if match is not None else "/usr/share/libpam-script"


_OF_PAM_EXEC = re.compile(r"debug|expose_authtok|use_first_pass|seteuid|quiet|quiet_log|stdout|(log|type)=.*")


def command_of(entry: Entry) -> str:
    """The program that a ``pam_exec`` line runs; "" if it names none."""
    words = (word.strip("[]") for word in entry.arguments.split())
    return next((word for word in words if not _OF_PAM_EXEC.fullmatch(word)), "")


def _of_options(entry: Entry, words: Sequence[str]) -> Iterator[Check]:
    wrong = ""
    try:
        found = options(words, {"check", "push"}, {"config"})
        wrong = f"the hook does not know {found.rest[0]!a}" if found.rest else ""
        found.one_of("check", "push")
    except Usage as error:
        wrong = wrong or str(error)
    if wrong:
        yield fail(f"{entry.place}: {wrong}: each call of it fails", _PAGE)


def _of_exec(entry: Entry, words: Sequence[str], version: tuple[int, int] | None) -> Iterator[Check]:
    if entry.module != "pam_exec":
        return
    if "expose_authtok" not in entry.arguments.split():
        yield fail(f"{entry.place}: pam_exec gets no password", "add expose_authtok")
    if version is not None and version < (1, 6):
        yield fail(
            f"{entry.place}: Linux-PAM {version[0]}.{version[1]} passes no new password to pam_exec",
            "it needs 1.6.0; until then use pam_script",
        )
    if "--check" in words and "stdout" not in entry.arguments.split():
        yield warn(f"{entry.place}: nobody sees why a password is refused", "add stdout")


def _of_order(entry: Entry, words: Sequence[str], before: bool | None, veto: bool) -> Iterator[Check]:
    if "--check" in words:
        if before is False:
            yield fail(
                f"{entry.place}: a check behind pam_unix cannot refuse anything", "move it before pam_unix"
            )
        elif entry.control == "sufficient":
            yield fail(
                f"{entry.place}: a sufficient check ends the stack with success, and no password changes",
                "make it requisite",
            )
        elif not veto:
            yield fail(
                f"{entry.place}: a password that this check refuses is set all the same", "make it requisite"
            )
    elif "--push" in words:
        if before is True:
            yield fail(f"{entry.place}: pam_unix may still refuse what was pushed", "move it behind pam_unix")
        if entry.control == "sufficient":
            yield fail(f"{entry.place}: a sufficient push ends the stack", "make it optional")
        elif failure(entry) & {"bad", "die"}:
            yield warn(
                f"{entry.place}: when it fails, passwd fails although the password has changed",
                "make it optional",
            )


def _of_way(entry: Entry, number: int, passable: frozenset[int], hint: str) -> Iterator[Check]:
    if entry.control == "sufficient" or number in passable:
        return
    if not passable:
        yield fail(f"{entry.place}: no password can be changed: the stack never ends in success", _PAGE)
    else:
        yield fail(
            f"{entry.place}: no change of a password passes this line: it or one before it ends the stack, or"
            " jumps over it",
            hint,
        )


def _of_jumps(entry: Entry, words: Sequence[str], over: Iterable[Entry]) -> Iterator[Check]:
    for jump in over if "--check" in words else ():
        yield fail(
            f"{entry.place}: {jump.place} may jump over this check",
            "put the check before it: directly behind pam_pwquality, before every line that has success=N",
        )


def of_script(path: Path, text: str, status: os.stat_result) -> list[Check]:
    """What is wrong with a script that ``pam_script`` runs as root, with the environment of the caller."""
    checks = []
    first = text.partition("\n")[0]
    if called_in(text) is None:
        checks.append(fail(f"{path} speaks of passferry, and does not call the hook", _PAGE))
    if not re.fullmatch(r"#!\S*python\S* -I", first):
        checks.append(
            fail(
                f"{path} does not begin with #!…/python3 -I",
                "whoever calls passwd sets its environment: without -I, PYTHONPATH runs their code as root",
            )
        )
    if status.st_uid != 0 or status.st_mode & 0o022:
        checks.append(fail(f"others than root may change {path}", f"chown root {path}; chmod go-w {path}"))
    if not status.st_mode & stat.S_IXUSR:
        checks.append(fail(f"{path} cannot be run", f"chmod +x {path}"))
    return checks


# --- this machine ----------------------------------------------------------------------------


_COPY = re.compile(r".*(~|\.bak|\.pam-old|\.dpkg-.*|\.ucf-.*|\.rpmsave|\.rpmnew)")
"""What editors and packages call a file that they keep, and no service reads."""


def run(values: Mapping[str, str]) -> int:
    """Print every check; 0 when none failed."""
    return self_test.run(values, {}, _own, pwd.getpwuid(0), short_names=True)


def _own(settings: HookSettings) -> Iterable[Check]:
    if os.geteuid() != 0:
        yield warn("this is not root, who changes passwords", "run it as root")
    paths = [path for path in sorted(FOLDER.glob("*")) if not _COPY.fullmatch(path.name)]
    files = {path.name: entries(path.name, _text(path)) for path in paths}
    stacks = files.values()
    folders = {script_folder(each) for stack in stacks for each in stack if each.module == "pam_script"}
    scripts = {folder: _text(Path(folder) / "pam_script_passwd") for folder in sorted(folders)}
    version = _version()
    found = [check for stack in stacks for check in judge(stack, scripts, version, files)]
    yield from found or [fail(f"no line in {FOLDER} calls the hook", _PAGE)]
    yield from (check for stack in stacks for each in stack for check in _of_path(each, scripts))
    for folder, text in scripts.items():
        path = Path(folder) / "pam_script_passwd"
        if "passferry" in text:
            yield from of_script(path, text, path.stat())


def _of_path(entry: Entry, scripts: Mapping[str, str]) -> Iterator[Check]:
    """Whether what a line runs is there: else it fails, or nothing is ever pushed."""
    if entry.module == "pam_script" and "dir=" in entry.arguments:
        script = Path(script_folder(entry)) / "pam_script_passwd"
        if not script.is_file():
            yield fail(f"{entry.place}: there is no {script}", "put the script there, or correct dir=")
    elif entry.module == "pam_exec" and _called(entry, scripts) is not None:
        command = Path(command_of(entry))
        if not (command.is_absolute() and command.is_file() and os.access(command, os.X_OK)):
            yield fail(
                f"{entry.place}: {command} is no program that can be run",
                "name it in full, as in /opt/passferry/bin/passferry",
            )


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(errors="replace")
    return ""


def _version() -> tuple[int, int] | None:
    """Of Linux-PAM, as Debian's or Red Hat's packages tell it."""
    for command in (
        ["dpkg-query", "-W", "-f", "${Version}", "libpam-modules"],
        ["rpm", "-q", "--qf", "%{VERSION}", "pam"],
    ):
        with suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
            match = _VERSION.match(done.stdout)
            if match is not None:
                return int(match[1]), int(match[2])
    return None
