"""The self-test of LTB Self Service Password and Service Desk: what their configuration says of the hooks."""

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from passferry.hooks import self_test
from passferry.hooks.self_test import Check, fail, ok, warn
from passferry.hooks.settings import HookSettings

FILES = tuple(
    Path(folder) / name
    for folder in (
        "/etc/self-service-password",
        "/usr/share/self-service-password/conf",
        "/etc/service-desk",
        "/usr/share/service-desk/conf",
    )
    for name in ("config.inc.local.php", "config.inc.php")
)
_SETTING = re.compile(
    r"""^[ \t]*\$(\w+)[ \t]*=[ \t]*(?:"([^"\n]*)"|'([^'\n]*)'|(\w+))[ \t]*;""", re.MULTILINE
)


def settings_in(text: str) -> dict[str, str]:
    """The plain settings of a configuration in PHP: text, true and false, numbers."""
    return {
        match[1]: next(value for value in match.groups()[1:] if value is not None)
        for match in _SETTING.finditer(text)
    }


def judge(found: Mapping[str, str]) -> list[Check]:
    """What is right and wrong with the settings of one portal that calls the hook. Pure."""
    checks: list[Check] = []
    for name, option in (("prehook", "--pre"), ("posthook", "--post")):
        command = found.get(name, "")
        if "passferry" not in command:
            continue
        words = command.split()
        wrong = []
        if option not in words:
            wrong.append(fail(f"${name} does not call the hook with {option}", f"add {option}"))
        if words[-1] != "--":
            wrong.append(
                fail(f"${name} does not end with --", "a login that begins with - could be an option")
            )
        if words[0] != "exec":
            wrong.append(
                fail(
                    f"${name} does not begin with exec",
                    "PHP's shell would show the password in its arguments as long as the hook runs",
                )
            )
        wrong += _coding(name, words, found.get(f"{name}_password_encodebase64", "false").lower() == "true")
        if found.get(f"display_{name}_error", "false").lower() != "true":
            wrong.append(warn(f"users do not see what the {name} says", f"$display_{name}_error = true;"))
        if name == "prehook" and found.get("ignore_prehook_error", "false").lower() == "true":
            wrong.append(fail("the prehook's verdict is ignored", "$ignore_prehook_error = false;"))
        checks += wrong or [ok(f"${name} calls the hook as it should")]
    return checks


def _coding(name: str, words: list[str], coded: bool) -> list[Check]:
    flag = f"${name}_password_encodebase64"
    if "--plain" in words and coded:
        return [fail(f"${name} has --plain, and {flag} is true", "remove --plain")]
    if "--plain" in words:
        return [
            warn(
                f"${name} gets passwords plain: PHP drops signs beyond ASCII",
                f"{flag} = true; and no --plain",
            )
        ]
    return [] if coded else [fail(f"${name} expects base64", f"{flag} = true;")]


def run(values: Mapping[str, str]) -> int:
    """Print every check; 0 when none failed."""
    return self_test.run(values, os.environ, _own, root_too=False)


def _own(settings: HookSettings) -> Iterable[Check]:
    if os.geteuid() == 0:
        yield warn(
            "this is root, who does not run the portal", "run it as the web server's user, with sudo -u"
        )
    found: list[Check] = []
    for file in FILES:
        with suppress(OSError):
            found += judge(settings_in(file.read_text(errors="replace")))
    places = ", ".join(sorted({str(file.parent) for file in FILES}))
    yield from found or [
        warn(
            f"no configuration of a portal in {places} calls the hook",
            "docs/sources/ltb-self-service-password.md",
        )
    ]
