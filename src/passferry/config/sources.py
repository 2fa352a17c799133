"""Gathers what is given for each key, and where: in the file, in the environment, in files of secrets."""

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from passferry.config.keys import (
    GENERAL,
    GENESYS_VARIABLES,
    ORG,
    OTHER_VARIABLES,
    SOURCE,
    Key,
    source_table,
    variable,
)
from passferry.config.problems import Problem

DEFAULT_ORG = "default"
MOST_BYTES = 1_048_576
_PREFIX = "PASSFERRY_"
_ORGS, _SOURCES, _HOOK = _PREFIX + "ORGS_", _PREFIX + "SOURCES_", _PREFIX + "HOOK_"


@dataclass(frozen=True, slots=True)
class Given:
    """A value as it was given, and where, in words for a person."""

    value: Any = field(repr=False)
    where: str
    file: Path | None = None  # that the value was read from, where it is a secret's


@dataclass(slots=True)
class Gathered:
    """What is given for each key, in general, for each org and each source; and the mistakes on the way."""

    general: dict[str, Given] = field(default_factory=dict)
    orgs: dict[str, dict[str, Given]] = field(default_factory=dict)
    sources: dict[str, dict[str, Given]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def problem(self, what: str, hint: str) -> None:
        """Note a mistake and go on."""
        self.problems.append(Problem(what, hint))


def gather(env: Mapping[str, str], config: Path | None, home: Path | None) -> Gathered:
    """Read the file ``config``, if any, then the environment, which takes precedence."""
    found = Gathered()
    if config is not None:
        _from_file(found, config, home)
    given = {name: value for name, value in env.items() if value}  # an empty variable is an unset one
    _from_genesys_variables(found, given, home)
    _from_variables(found, given, home)
    return found


# --- the file --------------------------------------------------------------------------------


def _from_file(found: Gathered, config: Path, home: Path | None) -> None:
    document = _parsed(found, config)
    document.pop("hook", None)  # for hooks on this machine, which read it themselves
    orgs = _tables(found, document, "orgs", "default", config)
    sources = _tables(found, document, "sources", "NAME", config)
    _table(found, found.general, GENERAL, document, "", config, home)
    for name, table in sources.items():
        into = found.sources.setdefault(name, {})
        _table(found, into, SOURCE, table, f"sources.{name}.", config, home)
    for name, table in orgs.items():
        policy = table.pop("policy", {})
        if isinstance(policy, dict):
            table |= {f"policy.{key}": value for key, value in policy.items()}
        else:
            found.problem(
                f"orgs.{name}.policy in {config} is no table", f"write [orgs.{name}.policy] above its keys"
            )
        _table(found, found.orgs.setdefault(name, {}), ORG, table, f"orgs.{name}.", config, home)


def _tables(
    found: Gathered, document: dict[str, Any], kind: str, example: str, config: Path
) -> dict[str, dict[str, Any]]:
    """The tables ``[kind.NAME]``, taken out of ``document``."""
    given = document.pop(kind, {})
    if isinstance(given, dict) and all(isinstance(table, dict) for table in given.values()):
        return given
    found.problem(f"{kind} in {config} is no table of tables", f"write [{kind}.{example}] above its keys")
    return {}


def _parsed(found: Gathered, config: Path) -> dict[str, Any]:
    text = _content(found, config, f"the configuration file {config}", "check --config and PASSFERRY_CONFIG")
    if text is None:
        return {}
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        where = str(error)[str(error).rfind("(at ") :] if "(at " in str(error) else ""
    found.problem(
        f"{config} is not valid TOML {where}".rstrip(), "text stands in quotes, tables in [brackets]"
    )
    return {}


def _table(
    found: Gathered,
    into: dict[str, Given],
    keys: tuple[Key, ...],
    table: dict[str, Any],
    prefix: str,
    config: Path,
    home: Path | None,
) -> None:
    names = _names(keys)
    for name in table.keys() - names.keys():
        hint = _meant(name, names, "docs/configuration.md lists all")
        if prefix.startswith("sources.") and isinstance(table[name], dict):
            hint = (
                f"a name with dots stands in quotes: {source_table(prefix.removeprefix('sources.') + name)}"
            )
        found.problem(f"unknown key {prefix}{name} in {config}", hint)
    given = {
        name: Given(value, f"{prefix}{name} in {config}") for name, value in table.items() if name in names
    }
    into.update(_resolved(found, keys, given, config.parent, home))


# --- the environment -------------------------------------------------------------------------


def _from_variables(found: Gathered, env: Mapping[str, str], home: Path | None) -> None:
    general = {name: variable(name) for name in _names(GENERAL)}
    given = {name: Given(env[var], var) for name, var in general.items() if var in env}
    found.general.update(_resolved(found, GENERAL, given, Path.cwd(), home))

    _from_variables_of(found, found.orgs, _ORGS, "org", ORG, env, home)
    _from_variables_of(found, found.sources, _SOURCES, "source", SOURCE, env, home)
    _look_for_slips(found, env, set(general.values()))


def _from_variables_of(
    found: Gathered,
    into: dict[str, dict[str, Given]],
    prefix: str,
    kind: str,
    keys: tuple[Key, ...],
    env: Mapping[str, str],
    home: Path | None,
) -> None:
    """Read what ``prefix<NAME>_<KEY>`` says of each org, or of each source."""
    given: dict[str, dict[str, Given]] = {}
    for var in sorted(name for name in env if name.startswith(prefix)):
        name, key = _split_variable(var, prefix, keys, into)
        if name is None or key is None:
            hint = f"write {prefix}<{kind.upper()}>_<KEY>; docs/configuration.md lists all"
            article = "an" if kind == "org" else "a"
            found.problem(f"{var} names no key of {article} {kind}", hint)
            continue
        given.setdefault(name, {})[key] = Given(env[var], var)
    for name, values in given.items():
        into.setdefault(name, {}).update(_resolved(found, keys, values, Path.cwd(), home))


def _split_variable(
    var: str, prefix: str, keys: tuple[Key, ...], known: Iterable[str]
) -> tuple[str | None, str | None]:
    # The longest key that fits wins, so that POLICY_MINIMUM_LENGTH is never read as an org called …-policy.
    rest = var.removeprefix(prefix)
    by_suffix = {"_" + variable(name).removeprefix(_PREFIX): name for name in _names(keys)}
    fitting = [suffix for suffix in by_suffix if rest.endswith(suffix) and len(rest) > len(suffix)]
    if not fitting:
        return None, None
    suffix = max(fitting, key=len)
    written = rest.removesuffix(suffix)
    declared = [name for name in known if variable(name) == _PREFIX + written]
    return (declared[0] if declared else written.lower().replace("_", "-")), by_suffix[suffix]


def _from_genesys_variables(found: Gathered, env: Mapping[str, str], home: Path | None) -> None:
    given: dict[str, Given] = {}
    for name, variables in GENESYS_VARIABLES.items():
        for ending in ("", "_file") if name == "client_secret" else ("",):
            present = [var + ending.upper() for var in variables if var + ending.upper() in env]
            if len({env[var] for var in present}) > 1:
                found.problem(" and ".join(present) + " are both set and differ", "keep one of them")
            if present:
                given[name + ending] = Given(env[present[0]], present[0])
    if given:
        found.orgs.setdefault(DEFAULT_ORG, {}).update(_resolved(found, ORG, given, Path.cwd(), home))


def _look_for_slips(found: Gathered, env: Mapping[str, str], known: set[str]) -> None:
    # Only near misses: platforms set variables of their own with this prefix, as Kubernetes does with
    # PASSFERRY_SERVICE_HOST.
    names = {name.removeprefix(_PREFIX) for name in known} | OTHER_VARIABLES
    for var in sorted(env):
        rest = var.removeprefix(_PREFIX)
        if rest == var or rest in names or var.startswith((_ORGS, _SOURCES, _HOOK)):
            continue
        close = difflib.get_close_matches(rest, names, n=1, cutoff=0.8)
        if close:
            found.problem(f"unknown variable {var}", f"did you mean {_PREFIX}{close[0]}?")


# --- both ------------------------------------------------------------------------------------


def _names(keys: tuple[Key, ...]) -> dict[str, Key]:
    """Every name under which a key may be given: its own, and ``…_file`` of a secret."""
    return {key.name: key for key in keys} | {f"{key.name}_file": key for key in keys if key.secret}


def _meant(name: str, names: Iterable[str], otherwise: str) -> str:
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"did you mean {close[0]}?" if close else otherwise


def _resolved(
    found: Gathered, keys: tuple[Key, ...], given: dict[str, Given], beside: Path, home: Path | None
) -> dict[str, Given]:
    """``given`` of one source, with each ``…_file`` replaced by what the file holds."""
    values = dict(given)
    for key in keys:
        named = values.pop(f"{key.name}_file", None) if key.secret else None
        if named is None:
            continue
        if key.name in values:
            found.problem(f"{values[key.name].where} and {named.where} are both given", "keep the file")
        values[key.name] = _secret_in(found, named, beside, home)
    return values


def _secret_in(found: Gathered, named: Given, beside: Path, home: Path | None) -> Given:
    if not isinstance(named.value, str):
        found.problem(f"{named.where} is not text", "give the path of a file that holds the secret")
        return Given(None, named.where)
    path = (beside / expanded(named.value, home)).absolute()
    return Given(secret_text(found, path, named.where), named.where, path)


def secret_text(found: Gathered, path: Path, where: str) -> str | None:
    """The secret in the file that the setting ``where`` names; None, with a problem noted, without one."""
    text = _content(found, path, f"the file that {where} names", "check its path, owner and permissions")
    if text is not None and not text.strip():
        found.problem(f"the file that {where} names is empty", "write the secret into it")
        return None
    return None if text is None else text.removesuffix("\n").removesuffix("\r")


def _content(found: Gathered, path: Path, what: str, hint: str) -> str | None:
    """The text of a file; None, with a problem noted, when it cannot be had."""
    try:
        content = b"" if path.is_dir() else _bytes(path)
        reason = "it is a folder" if path.is_dir() else ""
    except OSError as error:
        content, reason = b"", error.strerror or "it cannot be read"
    except ValueError:
        content, reason = b"", "its path cannot be used"
    if len(content) > MOST_BYTES:
        reason = "it is too large"
    text = None
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        reason = "it is not UTF-8"
    if reason:
        found.problem(f"cannot read {what}: {reason}", hint)
        return None
    return text


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MOST_BYTES + 1)


def expanded(text: str, home: Path | None) -> Path:
    """A path as a person writes it: a leading ``~/`` is the home folder."""
    return home / text[2:] if text.startswith("~/") and home is not None else Path(text)
