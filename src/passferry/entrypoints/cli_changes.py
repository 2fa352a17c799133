"""``passferry changes``: the queue, as a help desk and an operator see it."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from passferry.entrypoints.change_view import view
from passferry.entrypoints.cli_io import (
    BY_ID_ALONE,
    Code,
    fail,
    moment,
    print_fields,
    print_json,
    print_table,
    timestamp,
)
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
    from passferry.domain.audit import Record
    from passferry.domain.change import Change, State
    from passferry.state import Desk

app = typer.Typer(no_args_is_help=True, help="The queue: list, show, retry, cancel.")

Id = Annotated[str, typer.Argument(metavar="ID", help="The change's id.")]


@app.command("list")
def list_changes(
    user: Annotated[str | None, typer.Option(help="Only this user: its id, or its email.")] = None,
    state: Annotated[
        list[str] | None, typer.Option(help="Only changes in this state; may be given several times.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Accepted since: RFC 3339, or 30m, 2h, 3d ago.")
    ] = None,
    org: Org = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many, newest first.")] = 50,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Changes, newest first."""
    states = _states(state or [])
    with open_desk(settings_from(config)) as desk:
        start = _since(since, desk.clock.now())
        run(the_orgs(desk, org))
        found = run(
            desk.lookup.changes(
                org=org,
                user=user,
                states=states,
                since=start,
                limit=limit + 1,  # one more tells whether there are more
            )
        )
        more, found = len(found) > limit, found[:limit]
        found = run(_explained(desk, found))
    if more:
        print(f"these are the newest {limit}, and there are more: --limit N shows up to N", file=sys.stderr)
    if as_json:
        print_json({"changes": [view(change) for change in found]})
        return
    print_table(
        ("CHANGE", "ORG", "USER", "STATE", "ACCEPTED", "TRIES", "REASON"),
        [
            (
                change.id,
                change.org,
                change.user.value,
                str(change.state),
                timestamp(change.accepted_at) or "",
                str(change.attempts),
                change.error.code if change.error else "",
            )
            for change in found
        ],
        "no such changes" + (f"\nhint: {BY_ID_ALONE}" if user is not None and "@" in user else ""),
    )


async def _explained(desk: "Desk", changes: Sequence["Change"]) -> "list[Change]":
    """``changes``, those of a paused org with the reason why they wait."""
    from passferry.domain.change import as_seen

    paused = {org: (await desk.delivery.org_state(org)).paused for org in {each.org for each in changes}}
    return [as_seen(each, paused[each.org]) for each in changes]


@app.command()
def show(
    change_id: Id,
    history: Annotated[
        bool, typer.Option("--history", help="Also its records in the audit trail, which is read whole.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """One change: where it is, and why."""
    with open_desk(settings_from(config)) as desk:
        change = run(desk.lookup.change(change_id))
        if change is None:
            _unknown(change_id)
        change = run(_explained(desk, [change]))[0]
        records = run(_history(desk, change)) if history else None
    document = view(change)
    if records is not None:
        document["history"] = [_record_json(record) for record in records]
    if as_json:
        print_json(document)
        return
    document.pop("history", None)
    error = document.pop("error")
    if error:
        document["reason"] = f"{error['message']} ({error['code']})"
        document["correlationId"] = error["correlationId"]
    print_fields(document)
    if records is not None:
        print()
        rows = [(timestamp(r.at) or "", r.kind, r.actor, r.state or "", r.code or "") for r in records]
        print_table(("AT", "WHAT", "WHO", "STATE", "CODE"), rows, "no audit records")


@app.command()
def retry(change_id: Id, config: Config = None, as_json: Json = False) -> None:
    """Try a pending or parked change now."""
    _operate(change_id, "retry", config, as_json)


@app.command()
def cancel(change_id: Id, config: Config = None, as_json: Json = False) -> None:
    """Give up a pending or parked change; its password is erased."""
    _operate(change_id, "cancel", config, as_json)


def _operate(change_id: str, act: str, config: Any, as_json: bool) -> None:
    from passferry.store_ports import NotNow

    state = ""
    with open_desk(settings_from(config)) as desk:
        change = None
        try:
            change = run(desk.lookup.operate(change_id, act, operator(), desk.clock.now()))
        except NotNow as error:
            state = str(error)
    if state:
        fail(f"change {change_id} is {state}", f"only pending and parked changes: {act} does nothing here")
    if change is None:
        _unknown(change_id)
    if as_json:
        print_json(view(change))
    else:
        print(f"change {change.id} of {change.user.value} is {change.state}")


async def _history(desk: "Desk", change: "Change") -> list["Record"]:
    found: list[Record] = []
    after = 0
    while page := await desk.audit.links(change.org, after, 1000):
        after = page[-1].seq
        records = [link.record for link in page]
        found += [record for record in records if change.id in (record.change_id, record.other)]
    return found


def _record_json(record: "Record") -> dict[str, Any]:
    from dataclasses import asdict

    kept = {name: value for name, value in asdict(record).items() if value is not None}
    return {**kept, "at": timestamp(record.at)}


def _states(names: list[str]) -> list["State"]:
    from passferry.domain.change import State

    wanted = [part for name in names for part in name.split(",")]
    bad = [name for name in wanted if name not in {str(state) for state in State}]
    if bad:
        fail(f"there is no state {bad[0]!r}", "the states are: " + ", ".join(State), Code.USAGE)
    return [State(name) for name in wanted]


def _since(text: str | None, now: float) -> float | None:
    if text is None:
        return None
    at = moment(text, now)
    if at is None:
        fail(f"{text!r} is no time", "2026-05-04T10:00:00Z, or 30m, 2h, 3d", Code.USAGE)
    return at


def _unknown(change_id: str) -> NoReturn:
    fail(f"there is no change {change_id}", "`passferry changes list` shows what there is")
