"""``passferry doctor``: a first look at configuration, this machine and every org, and what to mend."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from passferry.entrypoints.cli_io import STYLES, print_json
from passferry.entrypoints.cli_state import Config, Json, run

if TYPE_CHECKING:
    from passferry.domain.diagnosis import Finding

_CHECK_WIDTH = 13


def doctor(config: Config = None, as_json: Json = False) -> None:
    """Check everything that must be right before passwords can be delivered; change nothing.

    Configuration, state directory, key file and database; then of each org hosts, TLS, token, clock,
    permissions, limits and password rules. Exit code 0 when nothing fails (there may be warnings), 2 when
    configuration or state must be mended here, 1 when the target refuses, 3 when it does not answer.
    """
    from passferry.domain.diagnosis import exit_code

    findings = _findings(config)
    code = exit_code(findings)
    if as_json:
        print_json({"ok": code == 0, "findings": [_json(finding) for finding in findings]})
    else:
        _print(findings)
    raise typer.Exit(code)


def _findings(config: Path | None) -> "list[Finding]":
    from passferry.adapters.clock import SystemClock
    from passferry.config import ConfigError, load_settings
    from passferry.domain.diagnosis import fail

    try:
        settings = load_settings(config, orgs_required=True, serves={})
    except ConfigError as error:
        return [fail("configuration", each.what, each.hint) for each in error.problems]
    except OSError as error:
        what = f"cannot read the configuration: {error.filename}: {error.strerror}"
        return [fail("configuration", what, "run it as the user who owns it")]
    from passferry.doctor import examine

    return run(examine(settings, SystemClock()))


def _json(finding: "Finding") -> dict[str, Any]:
    return {
        "check": finding.check,
        "org": finding.org,
        "level": finding.level.value,
        "message": finding.message,
        "remedy": finding.remedy or None,
        "code": finding.code or None,
        "correlationId": finding.correlation_id,
    }


def _print(findings: "Sequence[Finding]") -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout, soft_wrap=True, highlight=False)
    org = None
    for finding in findings:
        if finding.org != org:
            org = finding.org
            console.print(Text(f"\norg {org}"))
        level = finding.level.value
        console.print(
            Text.assemble(
                (level.ljust(6), STYLES.get(level, "")),
                finding.check.ljust(_CHECK_WIDTH),
                "  ",
                finding.message,
            )
        )
        if finding.remedy:
            console.print(Text(" " * (6 + _CHECK_WIDTH + 2) + f"remedy: {finding.remedy}"))
        if finding.correlation_id:
            console.print(Text(" " * (6 + _CHECK_WIDTH + 2) + f"correlation id: {finding.correlation_id}"))
    counts = {level: sum(found.level == level for found in findings) for level in ("ok", "warn", "fail")}
    console.print(Text("\n" + ", ".join(f"{number} {level}" for level, number in counts.items())))
