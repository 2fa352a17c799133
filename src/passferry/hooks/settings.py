"""The settings of a hook: the table ``[hook]`` of one TOML file, and variables where the environment is ours.

No file in the current directory is looked for: whoever changes a password chooses that directory.
"""

import contextlib
import os
import stat
import tomllib
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from passferry.client import base_url

DEFAULT_FILE = Path("/etc/passferry/hook.toml")
DEFAULT_SPOOL = "/var/spool/passferry"
MOST_BYTES = 65_536
Away = Literal["allow", "refuse"]

VARIABLES = {
    "url": "PASSFERRY_URL",
    "api_key": "PASSFERRY_API_KEY",
    "api_key_file": "PASSFERRY_API_KEY_FILE",
    "org": "PASSFERRY_HOOK_ORG",
    "spool": "PASSFERRY_HOOK_SPOOL",
    "spool_most": "PASSFERRY_HOOK_SPOOL_MOST",
    "when_away": "PASSFERRY_HOOK_WHEN_AWAY",
    "seconds": "PASSFERRY_HOOK_SECONDS",
    "ca_file": "PASSFERRY_HOOK_CA_FILE",
}
"""Every key, and the variable that takes precedence over it."""


@dataclass(frozen=True, slots=True)
class HookSettings:
    """Where the gateway is, and what to do while it does not answer."""

    url: str
    key: str = field(repr=False)
    org: str | None = None
    spool: Path = Path(DEFAULT_SPOOL)
    spool_most: int = 10_000  # files
    when_away: Away = "allow"  # a veto's verdict when the gateway gave none
    seconds: float = 2.0  # that a user waits at most
    ca_file: Path | None = None


class SettingsError(Exception):
    """Everything that is wrong, a line each; nothing secret in it."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class _Wrong(Exception):
    """What is wrong with a value; never the value."""


def load(config: Path | None, env: Mapping[str, str], *, whose_ever: bool = False) -> HookSettings:
    """The settings.

    Args:
        config: the file; else the one that PASSFERRY_CONFIG names, else ``DEFAULT_FILE`` if it is there.
        env: the environment, or nothing where others than us make it.
        whose_ever: whether files of others than us and root will do, since it is others who run the hook.

    Raises:
        SettingsError: with every mistake.
    """
    problems: list[str] = []
    trusted = None if whose_ever else {0, os.geteuid()}
    named = config or (Path(env["PASSFERRY_CONFIG"]) if env.get("PASSFERRY_CONFIG") else None)
    found = _from_file(named or DEFAULT_FILE, named is not None, trusted, problems)
    given = found or {}
    given.update({name: env[variable] for name, variable in VARIABLES.items() if env.get(variable)})
    values: dict[str, Any] = {}
    for name, value in given.items():
        _read(name, value, values, problems)
    key = _key(values, trusted, problems)
    if found is not None:  # else nobody knows
        problems += _missing(given)
    if problems:
        raise SettingsError(problems)
    return HookSettings(key=key, **values)


def _missing(given: Mapping[str, Any]) -> Iterator[str]:
    if not given.keys() & {"api_key", "api_key_file"}:
        yield "api_key_file is missing: a file with the key that `passferry access add` made"
    if "url" not in given:
        yield "url is missing: the gateway's address, as in https://gateway.example.com:8443"


def _read(name: str, value: Any, into: dict[str, Any], problems: list[str]) -> None:
    reader = _READERS.get(name)
    if reader is None:
        problems.append(f"unknown key {name!a}: known are {', '.join(VARIABLES)}")
        return
    try:
        into[name] = reader(value)
    except _Wrong as error:
        problems.append(f"{name} {error}")


def _from_file(
    path: Path, named: bool, trusted: Set[int] | None, problems: list[str]
) -> dict[str, Any] | None:
    """The table; None with a problem noted when it cannot be read."""
    if not named and _is_not_there(path):
        return {}
    content = _content(path, "the configuration", 0o022, trusted, problems)
    if content is None:
        return None
    document: Any = None
    with contextlib.suppress(tomllib.TOMLDecodeError, RecursionError):
        document = tomllib.loads(content)
    if document is None:
        problems.append(f"{path} is not valid TOML")
        return None
    table = document.get("hook", {})
    if not isinstance(table, dict):
        problems.append(f"hook in {path} is no table: write [hook] above its keys")
        return None
    if "api_key" in table and stat.S_IMODE(path.stat().st_mode) & 0o007:
        problems.append(f"{path} holds an access key and may be used by everybody: chmod o= {path}")
    return dict(table)


def _is_not_there(path: Path) -> bool:
    """Whether nobody made it; not, whether we may not look."""
    try:
        path.stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _key(values: dict[str, Any], trusted: Set[int] | None, problems: list[str]) -> str:
    """The access key; "" when there is none, or with a problem noted."""
    key, file = values.pop("api_key", None), values.pop("api_key_file", None)
    if key is None and file is not None:
        key = _content(file, "the access key", 0o027, trusted, problems)
    if key is None:
        return ""
    key = str(key).strip()
    if not key:
        problems.append(f"there is no access key in {file}: `passferry access add` makes one")
    elif not (key.isascii() and key.isprintable() and " " not in key):
        problems.append("the access key is none: it looks like pf_ID_SECRET")
    return key


def _content(
    path: Path, what: str, forbidden: int, trusted: Set[int] | None, problems: list[str]
) -> str | None:
    """The text of a file; None with a problem noted when it cannot be read.

    Nobody may use it who is in ``forbidden`` (mode bits), and it belongs to one of ``trusted`` (user ids),
    if that is not None: its owner could name another gateway for the passwords.
    """
    reason = ""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            mode = stat.S_IMODE(found.st_mode)
            if trusted is not None and found.st_uid not in trusted:
                problems.append(
                    f"{what} {path} belongs to user {found.st_uid}, who could change it:"
                    f" run this as that user, or chown root {path}"
                )
            if mode & forbidden:
                problems.append(f"others may use {what} {path} (mode {mode:04o}): chmod go-w,o= {path}")
            return file.read(MOST_BYTES).decode()
    except OSError as error:
        reason = error.strerror or "it cannot be read"
    except ValueError:
        reason = "it is not UTF-8"
    problems.append(f"cannot read {what} {path}: {reason}")
    return None


# --- values ----------------------------------------------------------------------------------


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or not value.strip().isprintable():
        raise _Wrong("is no text on one line")
    return value.strip()


def _url(value: Any) -> str:
    found = base_url(_text(value))
    if found is None:
        raise _Wrong("is no address that a password may be sent to: https://…, or http://127.0.0.1:PORT")
    return found


def _org(value: Any) -> str:
    name = _text(value)
    if not all(sign.isascii() and (sign.islower() or sign.isdigit() or sign == "-") for sign in name):
        raise _Wrong("is no name of an org: lower-case letters, digits, hyphens")
    return name


def _path(value: Any) -> Path:
    path = Path(_text(value))
    if not path.is_absolute():
        raise _Wrong("is no absolute path")
    return path


def _away(value: Any) -> Away:
    word = _text(value)
    if word == "allow":
        return "allow"
    if word == "refuse":
        return "refuse"
    raise _Wrong("is neither allow nor refuse")


def _number(value: Any, least: float, most: float) -> float:
    found = None
    with contextlib.suppress(ValueError):
        found = float(value) if isinstance(value, str | int | float) else None
    if found is None or not least <= found <= most:
        raise _Wrong(f"is no number from {least:g} to {most:g}")
    return found


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "url": _url,
    "api_key": _text,
    "api_key_file": _path,
    "org": _org,
    "spool": _path,
    "spool_most": lambda value: int(_number(value, 1, 1_000_000)),
    "when_away": _away,
    "seconds": lambda value: _number(value, 0.1, 30),
    "ca_file": _path,
}
