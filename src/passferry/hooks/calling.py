"""From options to the gateway, for every hook."""

import sys
from collections.abc import Mapping
from pathlib import Path

from passferry.hooks import journal
from passferry.hooks.codes import SET_UP_WRONGLY
from passferry.hooks.gateway import Gateway
from passferry.hooks.settings import SettingsError, load

BY_OPERATORS = frozenset({"flush", "openldap"})
"""Hooks whose standard error is read, by whoever runs them or by a service manager."""


def gateway_for(source: str, values: Mapping[str, str], env: Mapping[str, str]) -> Gateway | None:
    """The gateway of the settings. None when they are wrong: then the log and whoever called were told.

    Args:
        source: the hook's name.
        values: of the options; ``config`` names the file.
        env: the environment, or nothing where others than us make it.
    """
    config = values.get("config")
    problems: list[str] = []
    try:
        return Gateway(load(Path(config) if config is not None else None, env))
    except SettingsError as error:
        problems = error.problems
    for problem in problems:
        journal.complain(source, problem)
        if source in BY_OPERATORS:
            print(f"passferry hook {source}: {problem}", file=sys.stderr)
    print(SET_UP_WRONGLY)
    return None
