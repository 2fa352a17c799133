"""``passferry audit verify``: was the trail altered, or is it shorter than a head kept elsewhere says?"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from passferry.entrypoints.cli_io import Code, fail, print_json, print_table
from passferry.entrypoints.cli_state import Config, Json, Org, open_desk, run, settings_from

if TYPE_CHECKING:
    from passferry.domain.audit import Head
    from passferry.ports import LookupStore

app = typer.Typer(no_args_is_help=True, help="The audit trail: verify.")

PAGE = 1000


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one org's chain. ``broken`` says where and how; None when all is well."""

    org: str
    records: int
    head: "Head | None"
    broken: str | None

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "org": self.org,
            "records": self.records,
            "head": str(self.head) if self.head else None,
            "ok": self.broken is None,
            "broken": self.broken,
        }


@app.command()
def verify(
    head: Annotated[
        str | None,
        typer.Option(metavar="SEQ:MAC", help="A head kept elsewhere (it is in the log every minute)."),
    ] = None,
    org: Org = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Check every link of every org's chain.

    Altered, removed and reordered records are found by themselves; that the newest were cut off, or that the
    whole was written anew, is found with --head. Exit code 1 when anything is wrong.
    """
    from passferry import state

    kept = parse_head(head) if head is not None else None
    with open_desk(settings_from(config), write=False) as desk:
        findings = run(_verify(desk.lookup, state.audit_key(desk.sealer), org, kept))
    if as_json:
        ok = all(finding.broken is None for finding in findings)
        print_json({"ok": ok, "orgs": [finding.as_json() for finding in findings]})
    else:
        rows = [(f.org, str(f.records), str(f.head or ""), "broken" if f.broken else "ok") for f in findings]
        print_table(("ORG", "RECORDS", "HEAD", "VERDICT"), rows, "the audit trail is empty")
    broken = [f"org {finding.org}: {finding.broken}" for finding in findings if finding.broken]
    if broken:
        fail("the audit trail is broken:\n" + "\n".join(f"- {line}" for line in broken))


def parse_head(text: str) -> "Head":
    """The head in ``SEQ:MAC``; ends the command when it is none."""
    from passferry.domain.audit import Head

    # Number 0, logged before the first record, has a MAC of zeros alone.
    found = re.fullmatch(r"(0(?=:0{64})|[1-9][0-9]{0,17}):([0-9a-fA-F]{64})", text.strip())
    if found is None:
        fail("--head is no SEQ:MAC", "a number, a colon, 64 hexadecimal digits, as in the log", Code.USAGE)
    return Head(int(found[1]), bytes.fromhex(found[2]))


async def _verify(lookup: "LookupStore", key: bytes, org: str | None, kept: "Head | None") -> list[Finding]:
    names = sorted(await lookup.heads())
    if org is not None:
        names = [org]
    if kept is not None and len(names) > 1:
        _which(names)
    if kept is not None and not names:
        fail("the audit trail is empty, and the head kept elsewhere says that it was not")
    return [await _readable_chain(lookup, key, name, kept) for name in names]


async def _readable_chain(lookup: "LookupStore", key: bytes, org: str, kept: "Head | None") -> Finding:
    """``check_chain``; that the database holds what cannot even be read as a record is a finding too."""
    try:
        return await check_chain(lookup, key, org, kept)
    except (TypeError, ValueError):
        return Finding(org, 0, None, "there is something that is no record")


def _which(names: list[str]) -> NoReturn:
    fail("several orgs have a chain, and --head belongs to one", f"--org: {', '.join(names)}", Code.USAGE)


async def check_chain(lookup: "LookupStore", key: bytes, org: str, kept: "Head | None") -> Finding:
    """Fold the chain of ``org`` from its first record to its last.

    Records may be added meanwhile, by a running ``serve``: the stored head as it was before the reading must
    be among the records, and no record may lie beyond the head as it is after it.

    Args:
        lookup: where the records are.
        key: of the chain's MACs.
        org: whose chain.
        kept: a head kept elsewhere, which must be among the records too.
    """
    from passferry.domain.audit import GENESIS, Head, verify_link

    before = (await lookup.heads()).get(org)
    wanted = {head.seq: head.mac for head in (before, kept) if head is not None}
    if before is not None and kept is not None and before.seq == kept.seq and before.mac != kept.mac:
        return Finding(org, 0, before, f"the head {before.seq} is not the one kept elsewhere")
    last = Head(0, GENESIS)
    while page := await lookup.audit(org, last.seq, PAGE):
        for record, mac in page:
            seq = last.seq + 1
            if not verify_link(key, last.mac, org, seq, record, mac):
                return Finding(
                    org, last.seq, last if last.seq else None, f"record {seq} does not fit the ones before"
                )
            if wanted.get(seq, mac) != mac:
                return Finding(org, last.seq, last, f"record {seq} is not the one that the head names")
            last = Head(seq, mac)
    after = (await lookup.heads()).get(org)
    missing = max(wanted, default=0)
    broken = None
    if last.seq < missing:
        broken = f"it ends at record {last.seq}; records up to {missing} are missing"
    elif last.seq and (after is None or after.seq < last.seq):
        broken = f"records beyond the stored head {after.seq if after else 0}"
    return Finding(org, last.seq, last if last.seq else None, broken)
