"""From what is given to checked settings, with every mistake in one error."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from passferry.config import serving
from passferry.config.keys import GENERAL, ORG, SOURCE, Key, source_table
from passferry.config.problems import ConfigError, Problem, Wrong
from passferry.config.regions import hosts
from passferry.config.secret_file import FileSecret
from passferry.config.settings import OrgSettings, Secret, Settings
from passferry.config.sources import Gathered, Given, expanded, gather
from passferry.domain.policy import Rules
from passferry.domain.source_rules import SourceRules, SourceTables, spelling

_ORG_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SOURCE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_OF_GENESYS = ("region", "subdomain", "api_url", "login_url", "client_id", "client_secret")
_OF_SCIM = ("base_url", "token")
_SETTINGS_OF_AN_ORG = frozenset(part.name for part in fields(OrgSettings)) - {
    "name",
    "policy",
    "client_secret",
    "token",
}
_CREDENTIALS_HINT = (
    "create an OAuth client with the grant Client Credentials in Genesys Cloud, and set GENESYS_CLIENT_ID,"
    " GENESYS_CLIENT_SECRET and GENESYS_REGION"
)


def load_settings(
    config: Path | None = None, *, orgs_required: bool = False, serves: Mapping[str, Any] | None = None
) -> Settings:
    """The settings of this process: ``load`` with its environment. Raises ``ConfigError``."""
    return load(os.environ, config, orgs_required=orgs_required, serves=serves)


def load(
    env: Mapping[str, str],
    config: Path | None = None,
    *,
    orgs_required: bool = False,
    serves: Mapping[str, Any] | None = None,
) -> Settings:
    """The settings that ``env`` and a file give.

    Args:
        env: the environment. Besides files that are named, nothing else decides.
        config: the file; else the one that PASSFERRY_CONFIG names, else ``passferry.toml`` if it is there.
        orgs_required: no org at all is a mistake, as it is for whoever delivers.
        serves: what the command line of ``serve`` says of general keys, and of ``host`` and ``port`` as parts
            of ``listen``; it takes precedence. Only then is it looked at how callers reach us.

    Raises:
        ConfigError: everything that is wrong, each with a hint. No secret occurs in it.
    """
    home = Path(env["HOME"]) if env.get("HOME") else None
    found = gather(env, _config_file(env, config), home)
    if serves is not None:
        serving.override(found, serves)
    general = _read_all(found, GENERAL, found.general)
    for name in serving.PATHS:
        if name in general:
            general[name] = expanded(general[name], home).absolute()
    if serves is not None:
        serving.check(found, general, serves)
    orgs = {name: _org(found, name, given) for name, given in sorted(found.orgs.items())}
    complete = {name: org for name, org in orgs.items() if org is not None}
    _refuse_twins(found, complete)
    sources = {name: _source(found, name, given) for name, given in sorted(found.sources.items())}
    _refuse_same_spelling(found)
    if orgs_required and not orgs:
        found.problem("no org is configured", _CREDENTIALS_HINT)
    general["state_dir"] = _place(
        found, env, home, general.get("state_dir"), _default_state_dir, "PASSFERRY_STATE_DIR"
    )
    general["key_file"] = _place(
        found, env, home, general.get("key_file"), _default_key_file, "PASSFERRY_KEY_FILE"
    )
    if found.problems:
        raise ConfigError([_without(problem, _secrets(found)) for problem in found.problems])
    return Settings(**general, orgs=complete, sources=SourceTables(sources))


def _config_file(env: Mapping[str, str], config: Path | None) -> Path | None:
    if config is not None:
        return config
    if env.get("PASSFERRY_CONFIG"):
        return Path(env["PASSFERRY_CONFIG"])
    return Path("passferry.toml") if Path("passferry.toml").is_file() else None


# --- reading ---------------------------------------------------------------------------------


def _read_all(found: Gathered, keys: tuple[Key, ...], given: Mapping[str, Given]) -> dict[str, Any]:
    """The checked values of the keys that are given; a mistake is noted and its key left out."""
    return {
        key.name: value
        for key in keys
        if key.name in given and (value := _read(found, given[key.name], key.read)) is not None
    }


def _read(found: Gathered, given: Given, reader: Callable[[Any], Any]) -> Any:
    if given.value is None:  # the file of a secret could not be read: noted already
        return None
    wrong = None
    try:
        return reader(given.value)
    except Wrong as error:
        wrong = Problem(f"{given.where} {error.what}", error.hint)
    found.problems.append(wrong)
    return None


def _org(found: Gathered, name: str, given: dict[str, Given]) -> OrgSettings | None:
    """The org, or None when a mistake, which is then noted, leaves it incomplete."""
    before = len(found.problems)
    if not _ORG_NAME.fullmatch(name):
        found.problem(
            f"{name!r} is no name for an org", "lower-case letters, digits and hyphens, at most 63 characters"
        )
    values = _read_all(found, ORG, given)
    check = _check_scim if values.get("target") == "scim" else _check_genesys
    check(found, name, given, values)
    rules = {key.removeprefix("policy."): value for key, value in values.items() if key.startswith("policy.")}
    policy = Rules(**rules)
    if policy.minimum_length > policy.maximum_length:
        found.problem(
            f"org {name}: no password can be long enough", "policy.minimum_length exceeds maximum_length"
        )
    if len(found.problems) > before:
        return None
    return OrgSettings(
        name,
        policy=policy,
        client_secret=_secret(given.get("client_secret"), values.get("client_secret")),
        token=_secret(given.get("token"), values.get("token")),
        **{key: value for key, value in values.items() if key in _SETTINGS_OF_AN_ORG},
    )


def _source(found: Gathered, name: str, given: dict[str, Given]) -> SourceRules:
    """What is said of a source; mistakes are noted."""
    if not _SOURCE_NAME.fullmatch(name):
        found.problem(
            f"{name!r} is no name for a source", "it is that of its access key: `passferry access list`"
        )
    rules = SourceRules(**_read_all(found, SOURCE, given))
    for org in rules.orgs:
        if found.orgs and org not in found.orgs:  # without any, a command only looks into the state
            found.problem(f"{given['orgs'].where} names an org that is not configured", "see [orgs.NAME]")
    return rules


def _refuse_same_spelling(found: Gathered) -> None:
    """Two tables of one source would leave it to chance whose guards stand."""
    seen: dict[str, str] = {}
    for name in sorted(found.sources):
        other = seen.setdefault(spelling(name), name)
        if other != name:
            found.problem(
                f"{source_table(other)} and {source_table(name)} are the same source",
                "capitals, and `_` for `-` or `.`, tell no sources apart: keep one table",
            )


def _secret(given: Given | None, text: str | None) -> Secret | None:
    if given is None or text is None:
        return None
    return Secret(text) if given.file is None else FileSecret(text, given.file, given.where)


# --- one org ---------------------------------------------------------------------------------


def _check_genesys(found: Gathered, name: str, given: dict[str, Given], values: dict[str, Any]) -> None:
    _refuse_foreign(found, given, _OF_SCIM, 'target = "genesys"')
    for key in ("client_id", "client_secret"):
        if key not in given:
            found.problem(f"org {name} has no {key}", _CREDENTIALS_HINT)
    domain = _domain(found, name, values)
    overrides = [key for key in ("api_url", "login_url") if key in given]
    if len(overrides) == 1:
        found.problem(
            f"org {name}: {given[overrides[0]].where} is given alone",
            "GENESYS_API_URL and GENESYS_LOGIN_URL override both hosts together, or neither",
        )
    elif not overrides and domain is not None:
        values["api_url"], values["login_url"] = hosts(domain)
    elif not overrides and not {"region", "subdomain"} & given.keys():
        found.problem(f"org {name} has no region", "set GENESYS_REGION, as in GENESYS_REGION=us-east-1")


def _domain(found: Gathered, name: str, values: dict[str, Any]) -> str | None:
    known = {values[key] for key in ("region", "subdomain") if key in values}
    if len(known) > 1:
        found.problem(
            f"org {name}: region and subdomain name different regions",
            "remove GENESYS_SUBDOMAIN, keep GENESYS_REGION",
        )
    return values.get("region") or values.get("subdomain")


def _check_scim(found: Gathered, name: str, given: dict[str, Given], values: dict[str, Any]) -> None:
    _refuse_foreign(found, given, _OF_GENESYS, 'target = "scim"')
    if "base_url" not in given:
        found.problem(
            f"org {name} has no base_url", "give the address above /Users, as in https://host/scim/v2"
        )
    if "token" not in given:
        found.problem(
            f"org {name} has no token", "give the bearer token of the SCIM service provider, or token_file"
        )
    if values.get("write") == "native":
        found.problem(
            f"{given['write'].where} is native",
            "that call is Genesys Cloud's own: use scim-put or scim-patch",
        )


def _refuse_foreign(found: Gathered, given: dict[str, Given], keys: tuple[str, ...], target: str) -> None:
    for key in keys:
        if key in given:
            found.problem(
                f"{given[key].where} has no meaning with {target}", "remove it, or change the target"
            )


def _refuse_twins(found: Gathered, orgs: Mapping[str, OrgSettings]) -> None:
    """Two owners of one org would each spend its whole limit, and could write in different orders."""
    seen: dict[tuple[str, object], str] = {}
    for name, org in orgs.items():
        other = seen.setdefault(org.identity, name)
        if other != name:
            found.problem(
                f"orgs {other} and {name} have the same host and the same credentials",
                "they are one org: keep one, and let both sources write to it",
            )


# --- places ----------------------------------------------------------------------------------


def _place(
    found: Gathered,
    env: Mapping[str, str],
    home: Path | None,
    given: str | None,
    default: Callable[[Mapping[str, str], Path | None], Path | None],
    name: str,
) -> Path:
    path = default(env, home) if given is None else expanded(given, home).absolute()
    if path is None:
        found.problem(f"there is no home folder to derive {name} from", f"set {name}")
    return path or Path()


def _default_state_dir(env: Mapping[str, str], home: Path | None) -> Path | None:
    if env.get("STATE_DIRECTORY"):  # systemd's StateDirectory=; several are separated by colons
        return Path(env["STATE_DIRECTORY"].split(":")[0])
    return _base_folder(env.get("XDG_STATE_HOME"), home, ".local/state", "passferry")


def _default_key_file(env: Mapping[str, str], home: Path | None) -> Path | None:
    return _base_folder(env.get("XDG_CONFIG_HOME"), home, ".config", "passferry/keys")


def _base_folder(given: str | None, home: Path | None, default: str, rest: str) -> Path | None:
    # The XDG Base Directory Specification: a relative path is invalid and ignored.
    if given and Path(given).is_absolute():
        return Path(given) / rest
    return home / default / rest if home is not None else None


# --- nothing secret in a message -------------------------------------------------------------


def _secrets(found: Gathered) -> list[str]:
    secret = {key.name for key in (*GENERAL, *ORG) if key.secret}
    tables = [found.general, *found.orgs.values()]
    values = [given.value for table in tables for key, given in table.items() if key in secret]
    return sorted(
        (value for value in values if isinstance(value, str) and len(value) > 3), key=len, reverse=True
    )


def _without(problem: Problem, secrets: list[str]) -> Problem:
    # No message is made from a secret; but a name that somebody gave (an org's, a path) could equal one.
    what, hint = problem.what, problem.hint
    for secret in secrets:
        what, hint = what.replace(secret, "***"), hint.replace(secret, "***")
    return Problem(what, hint)
