"""A first look at a set-up: everything that must be right, read only, each finding with its remedy."""

import asyncio
from dataclasses import replace

from passferry.config import Settings
from passferry.doctor.org import look_at_org
from passferry.doctor.state import look_at_state
from passferry.domain.diagnosis import Finding, ok
from passferry.ports import Clock

ORGS_AT_ONCE = 8

__all__ = ["examine"]


async def examine(settings: Settings, clock: Clock) -> list[Finding]:
    """What was found: this machine first, then org by org in the order of their names.

    Works beside a running gateway and without one. Nothing is written, neither here nor at a target; of each
    org a token and about ten answers are asked for.
    """
    several = f"{len(settings.orgs)} orgs" if len(settings.orgs) != 1 else "one org"
    findings = [ok("configuration", f"no mistakes, {several}"), *look_at_state(settings)]
    if settings.tls is not None:
        from passferry.doctor.tls import look_at_certificate  # late: few need what it imports

        findings.append(look_at_certificate(settings.tls.cert, clock.now()))
    turns = asyncio.Semaphore(ORGS_AT_ONCE)

    async def one(name: str) -> list[Finding]:
        async with turns:
            return [replace(found, org=name) for found in await look_at_org(settings.orgs[name], clock)]

    for found in await asyncio.gather(*map(one, sorted(settings.orgs))):
        findings += found
    return findings
