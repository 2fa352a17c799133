"""Tests on the real programs of sources. A run that must not do without them does not begin without them."""

import os

import pytest

from sources.programs import REQUIRED, missing

collect_ignore = [] if not missing() else ["test_openldap.py", "test_samba.py"]


def pytest_configure() -> None:
    """Said at once, not after everything else."""
    if os.environ.get(REQUIRED) and missing():
        raise pytest.UsageError(f"not installed: {', '.join(missing())}; .ci/run installs them")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was not tested."""
    if missing():
        text = f"NOT TESTED ON THE REAL PROGRAMS: {', '.join(missing())}; .ci/run installs them"
        terminalreporter.line(text, yellow=True)
