"""What a database holds, judged against the key ring and this program: the same on every database."""

from passferry.access import WITHOUT_KEY, provisioners, without_key
from passferry.adapters import schema
from passferry.adapters.database_look import Look
from passferry.adapters.sealing import RingSealer
from passferry.config import Settings
from passferry.config.keys import source_table
from passferry.config.settings import LEFT_OUT
from passferry.domain.diagnosis import Finding, fail, ok, warn


def contents(found: Look, sealer: RingSealer | None, where: str, settings: Settings) -> list[Finding]:
    """Findings about ``found``, at ``where``; without ``sealer`` its sealing keys are not judged."""
    if found.version > schema.VERSION:
        why = f"the database has version {found.version}, this program knows {schema.VERSION}"
        return [fail("database", why, "install the newer passferry again")]
    mistake = _mismatch(found, sealer) if sealer is not None else None
    if mistake is not None:
        return [mistake]
    return [
        ok("database", f"{where}, {found.live} change{'' if found.live == 1 else 's'} under way"),
        *_upgrade(found.version),
        *(
            warn("database", f"delivery to org {org} is paused ({why})", f"`passferry orgs resume {org}`")
            for org, why in sorted((found.paused or {}).items())
            if org in settings.orgs
        ),
        *(_left_out(org, changes) for org, changes in settings.left_out(found.live_of).items()),
        *(_who_provisions(org, found, settings) for org in sorted(settings.proxies)),
        *(
            warn(
                "sources", f"{source_table(name)} guards nobody: no source's key is called that", WITHOUT_KEY
            )
            for name in without_key(settings.sources, found.callers)
        ),
    ]


def _who_provisions(org: str, found: Look, settings: Settings) -> Finding:
    """Who may, in a proxy. A warning unless that was decided of every one."""
    callers = provisioners(org, found.callers, settings.sources)
    names = ", ".join(each.name for each in callers) or "no key"
    said = f'org {org} has scim = "proxy": its users may be created, changed and deleted by {names}'
    undecided = [each.name for each in callers if each.rules.scim is None]
    if not undecided:
        return ok("provisioning", said)
    remedy = (
        f'give each of these scim in [sources.NAME], "proxy", "passwords" or "none": {", ".join(undecided)}'
    )
    return warn("provisioning", said, remedy)


def _left_out(org: str, changes: int) -> Finding:
    said = f"org {org} is not configured, and nobody looks after its live changes: {changes}"
    return warn("database", said, LEFT_OUT.format(org=org))


def _upgrade(version: int) -> list[Finding]:
    if version in (0, schema.VERSION):
        return []
    why = f"the database has version {version}: the next start upgrades it to {schema.VERSION}"
    return [warn("database", why, "back it up first; an older passferry refuses it from then on")]


def _mismatch(found: Look, sealer: RingSealer) -> Finding | None:
    if found.ring is not None and found.ring != sealer.mac("ring", b"").hex()[:32]:
        return fail(
            "database",
            "the key ring is not the one that this database was made with",
            "set PASSFERRY_KEY_FILE to the right ring, or restore it from its back-up",
        )
    missing = sorted(key for key in found.keys if not sealer.knows(key))
    if missing:
        what = f"the key ring lacks the key {missing[0]}, which stored passwords need"
        return fail("database", what, "restore the key ring from its back-up")
    return None
