"""How the demo looks: colours and a spinner at a terminal, the same lines without them elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from passferry.entrypoints.demo import Step

STATUS_COLOURS = {2: "green", 4: "yellow", 5: "red"}


class Screen:
    """Where the demo is shown. ``quiet`` shows nothing: for ``--json``."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console(highlight=False, soft_wrap=True, quiet=quiet)
        self._utf8 = (self._console.encoding or "").lower().replace("-", "") == "utf8"
        self._yes, self._no, self._dot = ("✔", "✘", "·") if self._utf8 else ("ok", "NOT SO:", "-")

    @contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """A spinner while something runs, at a terminal only."""
        if not self._console.is_terminal:
            yield
            return
        with self._console.status(Text(f"{what} …", style="dim")):
            yield

    def opening(self, simulator: str, gateway: str) -> None:
        """The title, and where the two are."""
        self._line()
        self._line(
            Text("Passferry", style="bold"), Text(" brings new passwords to Genesys Cloud", style="dim")
        )
        self._line(Text("  stand-in  ", style="dim"), Text(f"{simulator}/simulator/", style="cyan"))
        self._line(Text("  gateway   ", style="dim"), Text(gateway, style="cyan"))

    def step(self, number: int, step: "Step") -> None:
        """One scene."""
        mark = Text(self._yes, style="bold green") if step.ok else Text(self._no, style="bold red")
        self._line()
        self._line(mark, Text(f" {number}  {step.title}", style="bold"))
        for which, text in enumerate(step.sent):
            self._row("sent" if which == 0 else "", Text(text))
        for which, answer in enumerate(step.answers):
            status = answer["status"]
            answered = Text.assemble(
                (f"{status} ", STATUS_COLOURS.get(status // 100, "")),
                f"{answer['message']}  ",
                (f"{answer['milliseconds']} ms", "dim"),
            )
            self._row("answer" if which == 0 else "", answered)
            for error in answer["errors"]:
                self._row("", Text(f"{self._dot} {error['message']} ").append(error["code"], style="dim"))
        for which, (at, what) in enumerate(step.timeline):
            moment = (f"{at:6.2f} s  " if step.answers else "", "dim")
            self._row("happened" if which == 0 else "", Text.assemble(moment, _coloured(what)))
        for which, (claim, holds) in enumerate(step.proofs):
            sign = (self._yes, "green") if holds else (self._no, "bold red")
            self._row("proof" if which == 0 else "", Text.assemble(sign, f" {claim}"))

    def closing(self, good: int, all_of: int, seconds: float) -> None:
        """The sum."""
        self._line()
        style = "bold green" if good == all_of else "bold red"
        self._line(Text(f"{good} of {all_of} as they should be, in {seconds:.1f} s", style=style))
        self._line()

    def kept(self, simulator: str, gateway: str, key: str) -> None:
        """How to go on by hand."""
        self._line(
            Text("Both keep running until Ctrl-C. What arrives is shown at the stand-in. Try:", style="dim")
        )
        self._line()
        self._line(Text(f"  curl -sS {gateway}/sync/password \\"))
        self._line(Text(f"    -H 'Authorization: Bearer {key}' \\"))
        self._line(Text("    -H 'Content-Type: application/json' \\"))
        self._line(Text("""    -d '{"userId":"agent007@example.com","password":"Str0ng-enough!"}'"""))
        self._line(Text(f"  curl -sS {simulator}/simulator/users/agent007@example.com"))
        self._line()

    def _row(self, name: str, text: Text) -> None:
        self._line(Text(f"     {name:<9} ", style="dim"), text)

    def _line(self, *parts: Text) -> None:
        line = Text.assemble(*parts)
        if not self._utf8:
            line = Text(line.plain.replace("→", "->").replace("…", "..."))
        self._console.print(line, soft_wrap=True)


def _coloured(what: str) -> Text:
    text = Text(what)
    text.highlight_regex(r"→ 2\d\d$", "green")
    text.highlight_regex(r"→ 4\d\d$", "yellow")
    text.highlight_regex(r"\bapplied\b", "green")
    text.highlight_regex(r"\bsuperseded\b", "cyan")
    return text
