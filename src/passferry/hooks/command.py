"""``passferry hook``: chosen before the rest of the command line is loaded, since a user waits.

A hook is a module with ``run``, which gets the arguments behind its name and gives an exit code. What its
source put where others can look must be gone first: so hooks, and this module, load the rest late.
"""

import importlib
import os
import sys
from collections.abc import Sequence

from passferry.hooks.arguments import Usage
from passferry.hooks.codes import DONE, SET_UP_WRONGLY, USAGE
from passferry.hooks.conceal import wipe_arguments

HOOKS = {
    "pam": "passferry.hooks.pam",
    "ltb": "passferry.hooks.ltb",
    "samba": "passferry.hooks.samba",
    "openldap": "passferry.hooks.openldap",
    "flush": "passferry.hooks.flush",
}
WITH_PASSWORDS = frozenset({"ltb"})
"""Hooks that get passwords as arguments."""
SHOWN_TO_USERS = frozenset({"pam", "ltb"})
"""Hooks whose standard output is for whoever changes a password, and whose standard error is thrown away."""
HELP = """\
Usage: passferry hook COMMAND [OPTIONS]

  What runs on a source's machine: hands new passwords over to the gateway.

Commands:
  pam --check|--push                      For pam_exec and pam_script.
  ltb --pre|--post [--base64|--plain] -- LOGIN NEW [OLD]
                                          For LTB Self Service Password.
  samba [--user-attribute NAME]           The script of samba-tool user syncpasswords.
  openldap [--socket PATH] [--slapd-user USER] [--ldapi PATH]
           [--user-attribute NAME] [--slapd-config PATH]
                                          Serve the sock overlay of slapd.
  flush [--seconds SECONDS] [--json]      Hand over what is spooled.

Options of each:
  --config FILE  Settings; else /etc/passferry/hook.toml.
  --self-test    Say what is wrong with the set-up on this machine (not flush).
  -h, --help     Show this message and exit.
"""


def main(arguments: Sequence[str]) -> int:
    """Run a hook; its exit code."""
    name = arguments[0] if arguments else ""
    if name in WITH_PASSWORDS:
        wipe_arguments(name)
    asks_for_help = bool(set(arguments[:2]) & {"-h", "--help"})
    if asks_for_help or name not in HOOKS:
        if name and not asks_for_help:
            _complain("hook", "it was called by a name that is not known")
        print(HELP, end="", file=sys.stdout if asks_for_help else sys.stderr)
        return DONE if asks_for_help else USAGE
    try:
        return int(importlib.import_module(HOOKS[name]).run(arguments[1:]))
    except Usage as error:
        text = str(error)
    _complain(name, text)
    if name in SHOWN_TO_USERS:
        print(SET_UP_WRONGLY)
    print(f"passferry hook {name}: {text}", file=sys.stderr)
    return USAGE


def _complain(name: str, what: str) -> None:
    from passferry.hooks import journal

    journal.complain(name, what)


def leave(code: int) -> None:
    """End the process at once: nothing waits for a request that was given up."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
