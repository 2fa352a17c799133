"""``passferry import``: many new passwords from one file."""

import errno
import os
import shlex
import stat
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, NoReturn

import typer

from passferry.entrypoints.cli_io import Code, fail, print_json, timestamp

if TYPE_CHECKING:
    from passferry.entrypoints.cli_import_run import Gateway, Survey
    from passferry.entrypoints.csv_rows import Mistake
    from passferry.entrypoints.import_journal import Journal

SETTLED = 2.0
"""Seconds for which a file must have stayed as it is: one that is being written may end within a password."""
OVERTAKEN = "superseded"
"""Of a row whose user has a newer change: told, and no failure; the import is done with it."""
SAY_EVERY = 60.0
"""Seconds after which it is said, where no terminal shows a bar, why the rest waits."""
MOST_SHOWN = 20
"""Mistakes of a file that are listed; one is enough to send nothing."""


def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help="Columns: userName or userId, password.")],
    org: Annotated[str | None, typer.Option(help="Org; else `default`, or the key's only org.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Ask policy and target; send nothing.")] = False,
    no_lookup: Annotated[
        bool, typer.Option("--no-lookup", help="With --dry-run: ask the policy alone.")
    ] = False,
    at_once: Annotated[bool, typer.Option("--async", help="Do not follow the deliveries.")] = False,
    delete_after: Annotated[
        bool,
        typer.Option("--delete-after", help="Delete the file once every row has arrived."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one JSON document.")] = False,
) -> None:
    """Send the new passwords of a CSV file to a running gateway, and report by row what became of them.

    The gateway is PASSFERRY_URL (default http://127.0.0.1:8080), the access key PASSFERRY_API_KEY or the file
    named by PASSFERRY_API_KEY_FILE. The first row names the columns: userName or userId, password, and if it
    is known changedAt (RFC 3339), else the file's own time counts. Of several rows of a user the last wins.

    Ended at any point, it goes on where it was when it is run again, and no row becomes two changes. Rows
    that the gateway refused are sent again then, since somebody may have mended the cause.
    """
    from passferry.entrypoints.cli_http import Line
    from passferry.entrypoints.cli_import_run import Gateway as To
    from passferry.entrypoints.cli_import_run import GivenUp
    from passferry.entrypoints.cli_push import configured

    to = configured(os.environ)
    stopped: GivenUp | None = None
    with _opened(file, to_delete=delete_after) as (stream, found), Line() as line:
        work = Import(file, stream, found, To(to.url, to.key, org, line), as_json)
        try:
            if dry_run:
                work.ask_only(lookup=not no_lookup)
            work.send(follow=not at_once, delete_after=delete_after)
        except GivenUp as error:
            stopped = error
        except KeyboardInterrupt:
            stopped = GivenUp("stopped", "run the same command again: it goes on from here", again=True)
    if stopped is not None:
        fail(stopped.what, stopped.hint, Code.UNREACHABLE if stopped.again else Code.FAILED)


@contextmanager
def _opened(path: Path, *, to_delete: bool) -> Iterator[tuple[BinaryIO, os.stat_result]]:
    """The file, which nobody else may read; ends the command when others may, or when it is none.

    Also when it is ``to_delete`` and has another name, under which the passwords would stay.
    """
    no_link = os.O_NOFOLLOW if to_delete else 0
    try:
        opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | no_link)
    except OSError as error:
        if to_delete and error.errno == errno.ELOOP:
            what = f"{path} is a symbolic link: to delete it would leave the passwords where it leads"
            fail(what, f"name the file itself: {os.path.realpath(path)}", Code.USAGE)
        fail(f"cannot read {path}: {error.strerror}", "name a file that you may read", Code.USAGE)
    found = os.fstat(opened)
    if not stat.S_ISREG(found.st_mode):
        os.close(opened)
        fail(f"{path} is not a file", "name a CSV file", Code.USAGE)
    with os.fdopen(opened, "rb") as stream:
        if found.st_mode & 0o077:
            fail(f"other users may use {path}", f"chmod 600 {path}", Code.USAGE)
        if to_delete and found.st_nlink > 1:
            what = f"{path} has another name (hard link), under which its passwords would stay"
            fail(what, f"delete the others: find / -samefile {shlex.quote(str(path))}", Code.USAGE)
        yield stream, found


@dataclass
class Import:
    """One file on its way."""

    path: Path
    stream: BinaryIO
    found: os.stat_result
    gateway: "Gateway"
    as_json: bool

    def _surveyed(self) -> "Survey":
        from passferry.entrypoints.cli_import_run import survey

        age = time.time() - self.found.st_mtime
        if age < SETTLED:
            self.gateway.sleep(min(SETTLED, SETTLED - age))
        self._unmoved()
        survey_of_file = survey(self.stream)
        if survey_of_file.mistakes:
            _say_mistakes(self.path, survey_of_file.mistakes)
        self._whole()
        self._unmoved()
        return survey_of_file

    def _unmoved(self) -> None:
        if _version(os.fstat(self.stream.fileno())) != _version(self.found):
            hint = "run it again on a file that stays as it is; rows that were accepted before stay accepted"
            fail(f"{self.path} was changed while it was read", hint)

    def _whole(self) -> None:
        self.stream.seek(max(0, self.found.st_size - 1))
        if self.stream.read(1) not in (b"\n", b"\r"):
            what = f"nothing was sent of {self.path}: its last line has no end, so it may be cut off"
            fail(what, "when the file is whole, end its last line with a line break", Code.FAILED)

    def _delete(self) -> None:
        """Delete the file, unless another stands in its place by now: that one was never sent."""
        try:
            now = self.path.lstat()
        except FileNotFoundError:
            return
        if _version(now) == _version(self.found):
            self.path.unlink(missing_ok=True)
        else:
            print(f"{self.path} is kept: it is not the file that was sent", file=sys.stderr)

    def _keep(self, overtaken: int) -> None:
        """Say why the file stays: of a newer change a source is told only that it was accepted.

        If it ends otherwise than applied, the file may be the only place where its user's password still is.
        """
        from passferry.entrypoints import import_journal as journals

        both = shlex.join([str(self.path), f"{self.path}{journals.ENDING}"])
        print(
            f"{self.path} is kept: of {overtaken} rows a newer change was accepted,"
            " which may not have arrived\n"
            "hint: see `passferry changes list` at the gateway; once the newest of each user is applied:"
            f" rm {both}",
            file=sys.stderr,
        )

    # --- asking only -------------------------------------------------------------------------

    def ask_only(self, *, lookup: bool) -> NoReturn:
        """Ask for each row what the policy and the target say, send nothing, and end the command."""
        from passferry.entrypoints.cli_import_run import check, look_up, wanted

        rows = self._surveyed()
        self._say_pace(len(rows.last))
        failed: list[dict[str, Any]] = []
        with _bar(len(rows.last), "asked") as step:
            for row in wanted(self.stream, rows):
                code = check(self.gateway, row)
                if code is None and lookup:
                    try:
                        code = look_up(self.gateway, row)
                    except LookupError:
                        lookup = False
                        print("this gateway looks up no users: only the policy is asked", file=sys.stderr)
                if code is not None:
                    failed.append({"row": row.number, "status": "refused", "code": code})
                step(1, "")
        counts = Counter(fine=len(rows.last) - len(failed), refused=len(failed))
        self._report(rows, counts, failed, [])
        raise typer.Exit(Code.FAILED if failed else Code.DONE)

    # --- sending -----------------------------------------------------------------------------

    def send(self, *, follow: bool, delete_after: bool) -> NoReturn:
        """Send what was not sent yet, follow it, report, and end the command."""
        from passferry.entrypoints import import_journal as journals

        if self.found.st_mtime > time.time() + 300:
            fail(f"the time of {self.path} lies in the future", "`touch` it, or set the clock", Code.USAGE)
        rows = self._surveyed()
        name = journals.identity(self.found)
        whose = f"{name} {self.gateway.url} {self.gateway.key_id} {self.gateway.org or ''}".strip()
        problem = ""
        try:
            with journals.open_journal(self.path, whose) as journal:
                self._send_rows(rows, journal, f"import-{name}")
                if follow:
                    self._follow(journal)
                self._finish(rows, journal, follow=follow, delete_after=delete_after)
        except journals.Busy:
            problem = "another import of this file runs"
        except OSError as error:
            problem = f"cannot write {self.path}{journals.ENDING}: {error.strerror}"
        fail(problem, "it says beside the file how far the import came", Code.USAGE)

    def _send_rows(self, rows: "Survey", journal: "Journal", name: str) -> None:
        from passferry.entrypoints.cli_import_run import send, wanted

        done = sum(journal.answered(number) for number in rows.last.values())
        self._say_pace(len(rows.last) - len(journal.ended) - len(journal.refused))
        if done:
            print(f"{done} of {len(rows.last)} rows were answered before: going on", file=sys.stderr)
        changed_at = timestamp(self.found.st_mtime) or ""
        with _bar(len(rows.last), "accepted") as step:
            step(done, "")
            for row in wanted(self.stream, rows):
                if not journal.answered(row.number):
                    self._unmoved()
                    send(self.gateway, row, changed_at, f"{name}-{row.number}", journal)
                    step(1, "")
        self._unmoved()

    def _follow(self, journal: "Journal") -> None:
        from passferry.entrypoints.cli_import_run import follow

        total, silent = len(journal.changes), not sys.stderr.isatty()
        with _bar(total, "delivered") as step:
            before, said = 0, self.gateway.monotonic()

            def seen(ended: int, why: str) -> None:
                nonlocal before, said
                step(ended - before, why)
                before, now = ended, self.gateway.monotonic()
                if silent and why and now - said >= SAY_EVERY:
                    said = now
                    print(f"{ended} of {total} changes have ended; the rest waits: {why}", file=sys.stderr)

            follow(self.gateway, journal, seen)

    def _finish(self, rows: "Survey", journal: "Journal", *, follow: bool, delete_after: bool) -> NoReturn:
        told = journal.not_arrived()
        counts = Counter(str(one["status"]) for one in told)
        counts["applied"] += sum(state == "applied" for state, _ in journal.ended.values())
        counts["pending"] += len(journal.changes) - len(journal.ended)
        self._report(rows, counts, told, journal.waiting())
        failed = [one for one in told if one["status"] != OVERTAKEN]
        done = not failed and (not follow or not counts["pending"])
        kept = delete_after and done and len(told) > len(failed)
        if kept:
            self._keep(len(told) - len(failed))
        elif done:
            journal.remove()
            if delete_after:
                self._delete()
        elif delete_after:
            print(f"{self.path} is kept: not every row has arrived", file=sys.stderr)
        raise typer.Exit(Code.FAILED if failed else Code.PENDING if kept or counts["pending"] else Code.DONE)

    # --- saying ------------------------------------------------------------------------------

    def _say_pace(self, changes: int) -> None:
        from passferry.entrypoints.cli_import_run import pace

        told = pace(self.gateway)
        if told is None or changes <= 0:
            return
        fast, slow = (_duration(seconds) for seconds in told.seconds(changes))
        behind = f", {told.waiting} changes wait already" if told.waiting else ""
        print(
            f"{changes} changes at {told.a_minute:g} requests a minute take {fast} to {slow}{behind}; "
            "people go first",
            file=sys.stderr,
        )

    def _report(
        self,
        rows: "Survey",
        counts: "Counter[str]",
        told: list[dict[str, Any]],
        waiting: list[dict[str, Any]],
    ) -> None:
        shown = {state: count for state, count in sorted(counts.items()) if count}
        if self.as_json:
            failed = [one for one in told if one["status"] != OVERTAKEN]
            overtaken = [one for one in told if one["status"] == OVERTAKEN]
            lists = {"failed": failed, "overtaken": overtaken, "waiting": waiting}
            print_json({"rows": rows.rows, "repeated": rows.repeated, **shown, **lists})
            return
        # Not row by row: in a dry run it is most of them, and would hide what did not arrive otherwise.
        why = {"pending": " (dry run: nothing was written)"} if waiting else {}
        parts = [f"{count} {state}{why.get(state, '')}" for state, count in shown.items()]
        if rows.repeated:
            parts.append(f"{rows.repeated} of users who have a later row")
        print(f"rows: {rows.rows}; {', '.join(parts) or 'nothing to do'}")
        for one in told:
            print(f"row {one['row']}: {one['status']} {one['code']}".rstrip())


def _version(found: os.stat_result) -> tuple[int, ...]:
    """What tells a file from another, and from itself once somebody has written to it."""
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _say_mistakes(path: Path, mistakes: "list[Mistake]") -> NoReturn:
    """Nothing is sent of a file that cannot be read whole: what is meant by its rows would be a guess."""
    lines = [f"\n  - row {mistake.number}: {mistake.code}" for mistake in mistakes[:MOST_SHOWN]]
    more = f"\n  and {len(mistakes) - MOST_SHOWN} more" if len(mistakes) > MOST_SHOWN else ""
    hint = "mend the rows: UTF-8, commas, quotes around what holds commas, quotes or line breaks"
    if mistakes[0].code == "header.unknown":
        hint = "the first row names the columns: userName or userId, password, and perhaps changedAt"
    fail(f"nothing was sent of {path}:{''.join(lines)}{more}", hint, Code.FAILED)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


@contextmanager
def _bar(total: int, what: str) -> Iterator[Any]:
    """A function that is told how many more are done, and what holds up the rest; drawn at a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[why]}"),
    )
    with Progress(
        *columns, console=console, disable=not console.is_terminal, speed_estimate_period=120
    ) as bar:
        task = bar.add_task(what, total=total, why="")
        yield lambda more, why: bar.update(task, advance=more, why=why)
