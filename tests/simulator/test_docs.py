"""The document of the simulator names everything that can be set."""

import re
from pathlib import Path

from passferry.simulator import FAULTS, Settings

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "simulator.md").read_text()
TESTS = "".join(path.read_text() for path in sorted(Path(__file__).parent.glob("test_*.py")))


def shown(value: object) -> str:
    """A default as the document writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value in ("", []) else str(value)


def test_every_setting_is_in_the_document_with_its_default() -> None:
    """One row a setting, in both directions."""
    rows = dict(re.findall(r"^\| `([a-z0-9_]+)` \| `?([^|`]*)`? \|", DOCUMENT, re.MULTILINE))
    settings = {name: value for name, value in Settings().as_json().items() if name != "faults"}
    faults = {fault.value: info.default for fault, info in FAULTS.items()}
    assert set(rows) == set(settings) | set(faults)
    for name, value in settings.items():
        assert rows[name].strip() == shown(value), name
    for name, rate in faults.items():
        assert rows[name].strip() == (f"{rate:.1%}" if rate else "off"), name


def test_every_setting_and_fault_is_shown_by_a_test() -> None:
    """Its name is in a test file; a switch that nothing exercises is a guess."""
    names = {*Settings().as_json(), *(fault.value for fault in FAULTS)}
    missing = {name for name in names if not re.search(rf"\b{name}\b", TESTS, re.IGNORECASE)}
    assert missing == set()
