"""``passferry audit``: verify the trail, export it, and prune what an export holds."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TextIO

import typer

from passferry.entrypoints.cli_io import Code, fail, print_json, print_table
from passferry.entrypoints.cli_state import (
    Config,
    Json,
    Org,
    open_desk,
    operator,
    run,
    settings_from,
    the_orgs,
)

if TYPE_CHECKING:
    from passferry.domain.audit import Head
    from passferry.state import Desk
    from passferry.trail.export import Exported
    from passferry.trail.prune import Pruned
    from passferry.trail.verify import BrokenFile, Finding

app = typer.Typer(no_args_is_help=True, help="The audit trail: verify, export, prune.")

FILES = "in the order in which they were exported"


# --- verify ----------------------------------------------------------------------------------


@app.command()
def verify(
    head: Annotated[
        str | None,
        typer.Option(metavar="SEQ:MAC", help="A head kept elsewhere (it is in the log every minute)."),
    ] = None,
    file: Annotated[
        list[Path] | None,
        typer.Option(help=f"An export instead of the database; several times for several, {FILES}."),
    ] = None,
    org: Org = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Check every link of every org's chain, in the database or in exports.

    Altered, removed and reordered records are found by themselves; that the newest were cut off, or that the
    whole was written anew, is found with --head. Exit code 1 when anything is wrong.
    """
    kept = parse_head(head) if head is not None else None
    findings = _in_files(file, config, org, kept) if file else _in_database(config, org, kept)
    if as_json:
        ok = all(finding.broken is None for finding in findings)
        print_json({"ok": ok, "orgs": [finding.as_json() for finding in findings]})
    else:
        _show(findings, in_files=bool(file))
    broken = [f"org {finding.org}: {finding.broken}" for finding in findings if finding.broken]
    if broken:
        fail("the audit trail is broken:\n" + "\n".join(f"- {line}" for line in broken))


def parse_head(text: str) -> "Head":
    """The head in ``SEQ:MAC``; ends the command when it is none."""
    from passferry.domain.audit import Head

    found = Head.parse(text.strip())
    if found is None:
        fail("--head is no SEQ:MAC", "a number, a colon, 64 hexadecimal digits, as in the log", Code.USAGE)
    return found


def _show(findings: "list[Finding]", *, in_files: bool) -> None:
    rows = [
        (f.org, str(f.base.seq + 1), str(f.records), str(f.head or ""), "broken" if f.broken else "ok")
        for f in findings
    ]
    print_table(("ORG", "FROM", "RECORDS", "HEAD", "VERDICT"), rows, "the audit trail is empty")
    for f in findings:
        if f.base.seq and not in_files and f.broken is None:
            print(
                f"org {f.org}: records up to {f.base.seq} were pruned, as the trail vouches", file=sys.stderr
            )


def _in_database(config: Path | None, org: str | None, kept: "Head | None") -> "list[Finding]":
    from passferry import state
    from passferry.trail.verify import HeadPruned, check_chain

    async def check(desk: "Desk") -> "list[Finding]":
        names = await the_orgs(desk, org)
        if kept is not None and len(names) > 1:
            _which(names, "--head")
        if kept is not None and not names:
            fail("the audit trail is empty, and the head kept elsewhere says that it was not")
        key = state.audit_key(desk.sealer)
        return [await check_chain(desk.audit, key, name, kept) for name in names]

    with open_desk(settings_from(config)) as desk:
        try:
            return run(check(desk))
        except HeadPruned as error:
            base = str(error)
    return fail(
        f"--head is older than the trail, whose records up to {base.partition(':')[0]} were pruned",
        "look for it in the export that holds it: --file FILE --head SEQ:MAC",
    )


def _which(names: list[str], option: str) -> NoReturn:
    fail(f"several orgs have a chain, and {option} belongs to one", f"--org: {', '.join(names)}", Code.USAGE)


def _in_files(
    paths: list[Path], config: Path | None, org: str | None, kept: "Head | None"
) -> "list[Finding]":
    from passferry import state
    from passferry.trail.verify import BrokenFile, check_files

    hint = ""
    try:
        key = state.audit_key(state.open_ring(settings_from(config)))
        found = check_files(_texts(paths), key, kept)
    except state.StateError as error:
        what, hint, code = error.what, error.hint, Code.USAGE
    except BrokenFile as error:
        what, code = _where(paths, error), Code.FAILED
    except OSError as error:
        what, code = f"cannot read {error.filename}: {error.strerror}", Code.USAGE
    else:
        return _asked(found, org, kept)
    return fail(what, hint, code)


def _asked(found: "list[Finding]", org: str | None, kept: "Head | None") -> "list[Finding]":
    """Those of ``org``; ends the command when there are none to tell about: that is no good news."""
    names = [finding.org for finding in found]
    if kept is not None and kept.seq > 0 and not found:
        fail(f"the files hold no record, and the head kept elsewhere says that there were {kept.seq}")
    if kept is not None and org is None and len(found) > 1:
        _which(names, "--head")
    if org is not None and org not in names:
        known = ", ".join(names) or "none"
        fail(f"the files hold no record of org {org!r}", f"the orgs in them are: {known}", Code.USAGE)
    return [finding for finding in found if org in (None, finding.org)]


def _where(paths: list[Path], error: "BrokenFile") -> str:
    return f"{paths[error.file]} is no sound export: line {error.line}: {error.what}"


def _texts(paths: Iterable[Path]) -> Iterator[TextIO]:
    for path in paths:
        with path.open(encoding="ascii", errors="replace", newline="\n") as file:
            yield file


# --- export ----------------------------------------------------------------------------------


@app.command()
def export(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="Where to; a file that is not there yet.")],
    org: Org = None,
    after: Annotated[
        int | None,
        typer.Option(min=0, metavar="SEQ", help="From behind this record; else where the last export ended."),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Write the audit trail as JSON lines that `audit verify --file` can check with the key ring alone.

    Each export holds what was added since the one before, which the trail itself remembers; one to standard
    output is not remembered. A running gateway is not held up. The file is there whole and synced, or not at
    all.
    """
    from passferry.trail.export import NoSuchRecord, TrailBroken

    if file == "-" and as_json:
        fail("--json says what was written, and standard output is where the records go", code=Code.USAGE)
    with open_desk(settings_from(config)) as desk:
        try:
            done = run(_export(desk, file, org, after))
        except TrailBroken as error:
            what, hint, code = (
                f"the audit trail is broken, and nothing was exported: {error}",
                "",
                Code.FAILED,
            )
        except NoSuchRecord as error:
            what, hint, code = f"there is no record {after}", str(error), Code.USAGE
        except FileExistsError:
            what, hint, code = f"{file} is there already", "name a new file for each export", Code.FAILED
        except OSError as error:
            what, hint, code = f"cannot write {file}: {error.strerror}", "nothing was exported", Code.FAILED
        else:
            _tell(file, done, as_json=as_json)
            return
    fail(what, hint, code)


async def _export(desk: "Desk", file: str, org: str | None, after: int | None) -> "list[Exported]":
    from passferry.adapters.new_file import new_file
    from passferry.state import audit_key
    from passferry.store_ports import StoreFull
    from passferry.trail.export import export as use_case
    from passferry.trail.export import note

    names = await the_orgs(desk, org)
    if after is not None and len(names) > 1:
        _which(names, "--after")
    key = audit_key(desk.sealer)
    if file == "-":
        return [await use_case(desk.audit, key, name, after, sys.stdout.write) for name in names]
    with new_file(Path(file)) as stream:
        done = [await use_case(desk.audit, key, name, after, stream.write) for name in names]
    try:
        for each in done:
            await note(desk.audit, each, operator(), desk.clock)
    except StoreFull:
        what = f"{file} is whole, but the trail could not be told: the next export repeats its records"
        fail(what, "", Code.UNREACHABLE)
    return done


def _tell(file: str, done: "list[Exported]", *, as_json: bool) -> None:
    if as_json:
        print_json({"file": file, "orgs": [each.as_json() for each in done]})
    elif file == "-":
        for each in done:
            print(f"org {each.org}: {each.records} records, head {each.head}", file=sys.stderr)
    else:
        rows = [(each.org, str(each.after.seq + 1), str(each.records), str(each.head)) for each in done]
        print_table(("ORG", "FROM", "RECORDS", "HEAD"), rows, "the audit trail is empty")


# --- prune -----------------------------------------------------------------------------------


@app.command()
def prune(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help=f"Exports, {FILES}.")],
    keep: Annotated[
        int, typer.Option(min=61, metavar="DAYS", help="Records stay in the database for so many days.")
    ] = 400,  # a year, which rules of the trade ask for, and a month
    org: Org = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Delete old audit records that these files hold.

    Files and trail are verified whole first. What is left still verifies: the trail itself says where it
    begins now. Keep the files: they are the only proof of what is deleted.
    """
    from passferry.store_ports import StoreFull, TrailMoved
    from passferry.trail.export import TrailBroken
    from passferry.trail.prune import NotExported
    from passferry.trail.verify import BrokenFile

    hint, code, deleted = "", Code.FAILED, list[int]()
    with open_desk(settings_from(config)) as desk:
        try:
            done = run(_prune(desk, files, org, keep, deleted))
        except BrokenFile as error:
            what = _where(files, error)
        except TrailBroken as error:
            what = f"the audit trail is broken: {error}"
        except NotExported as error:
            what, hint = str(error), "add the exports before them, or make one: audit export --after SEQ FILE"
        except TrailMoved as error:
            what = (
                f"org {error}: the oldest records are not those in the files, or somebody else deletes them"
            )
            hint = "run it again; if it says so again, `audit verify` and look which of them was altered"
        except StoreFull as error:
            what, code = str(error) or "the database does not answer", Code.UNREACHABLE
        except OSError as error:
            what, code = f"cannot read {error.filename}: {error.strerror}", Code.USAGE
        else:
            _tell_pruned(done, as_json=as_json)
            return
    if sum(deleted):
        what = f"{sum(deleted)} records were deleted, then: {what}"
        hint = hint or "run it again: it goes on"
    fail(what, hint or "nothing was deleted", code)


async def _prune(
    desk: "Desk", files: list[Path], org: str | None, days: int, deleted: list[int]
) -> "list[Pruned]":
    from passferry.adapters.new_file import sync
    from passferry.state import audit_key
    from passferry.trail.prune import prune as use_case

    for path in files:
        sync(path)
    names, key = await the_orgs(desk, org), audit_key(desk.sealer)
    return await use_case(
        desk.audit, key, lambda: _texts(files), names, days, operator(), desk.clock, deleted.append
    )


def _tell_pruned(done: "list[Pruned]", *, as_json: bool) -> None:
    if as_json:
        print_json({"orgs": [each.as_json() for each in done]})
        return
    rows: list[tuple[Any, ...]] = [(each.org, str(each.records), str(each.base.seq + 1)) for each in done]
    print_table(("ORG", "DELETED", "BEGINS AT"), rows, "the files hold no record of these orgs")
