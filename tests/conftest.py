"""What holds for all tests."""

import os
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

import debian
import postgres

# No deadline: on a busy machine an example's time says nothing about the code.
settings.register_profile("passferry", deadline=None)
settings.load_profile("passferry")


collect_ignore = list(debian.left_out())


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """A campaign silences the log of its process, which other tests read."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def pytest_configure() -> None:
    """A run that must not do without PostgreSQL, or Debian's programs, does not begin without them."""
    if os.environ.get(debian.REQUIRED) and debian.left_out():
        raise pytest.UsageError(str(debian.left_out()))
    if os.environ.get(postgres.REQUIRED) and postgres.described() is None:
        raise pytest.UsageError(postgres.missing())


def pytest_report_header() -> str:
    """Which PostgreSQL is used."""
    return f"postgresql: {postgres.described() or postgres.missing()}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Also where a quiet run shows no header: what was not tested."""
    for test, reason in debian.left_out().items():
        terminalreporter.line(f"NOT TESTED: {test}: {reason}", yellow=True)
    if postgres.described() is None:
        terminalreporter.line(f"NOT TESTED ON POSTGRESQL: {postgres.missing()}", yellow=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones first, so that no process is left with one of them at the end."""
    items.sort(key=lambda item: item.path.name != "test_promises.py")
