"""``passferry hook flush``: hand over what is spooled, from a timer or by hand."""

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from passferry.hooks import journal
from passferry.hooks.arguments import Usage, nothing_more, options
from passferry.hooks.calling import gateway_for
from passferry.hooks.codes import DONE, FAILED, UNREACHABLE, USAGE
from passferry.hooks.conceal import conceal
from passferry.hooks.gateway import Flushed
from passferry.hooks.spool import SpoolUnusable

SECONDS = 60.0


def run(arguments: Sequence[str]) -> int:
    """0: nothing is left. 3: something is. 1: something was refused, or set aside."""
    found = options(arguments, {"json"}, {"config", "seconds"})
    nothing_more(found)
    seconds = _seconds(found.values.get("seconds"))
    conceal()
    gateway = gateway_for("flush", found.values, os.environ)
    if gateway is None:
        return USAGE
    problem = ""
    try:
        done, aside = gateway.flush(seconds), len(gateway.spool.aside())
    except SpoolUnusable as error:
        problem = str(error)
    if problem:
        print(f"passferry hook flush: {problem}", file=sys.stderr)
        return FAILED
    shown = _shown(done, aside)
    if done.refused or done.set_aside:
        journal.complain("flush", _text(shown))
    print(json.dumps(shown) if "json" in found.flags else _text(shown))
    if done.left:
        return UNREACHABLE
    return FAILED if done.refused or done.set_aside else DONE


def _seconds(given: str | None) -> float:
    if given is None:
        return SECONDS
    if not given.isascii() or not given.isdigit() or not 0 < int(given) <= 86_400:
        raise Usage("--seconds is a number from 1 to 86400")
    return float(given)


def _shown(done: Flushed, aside: int) -> dict[str, Any]:
    return {
        "accepted": done.accepted,
        "older": done.older,
        "refused": done.refused,
        "setAside": done.set_aside,
        "left": done.left,
        "why": done.why or None,
        "aside": aside,
    }


def _text(shown: dict[str, Any]) -> str:
    text = (
        f"{shown['accepted']} handed over, {shown['older']} older than what the gateway has,"
        f" {shown['refused']} refused, {shown['setAside']} set aside, {shown['left']} left"
    )
    if shown["why"]:
        text += f": {shown['why']}"
    if shown["aside"]:
        text += f"; {shown['aside']} in the folder aside, which nobody will get"
    return text
