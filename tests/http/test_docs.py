"""The reference for callers is complete."""

import re
from pathlib import Path

from passferry.adapters.meter import Levels, PrometheusMeter
from passferry.domain import policy
from passferry.domain.outcome import Kind
from passferry.entrypoints import http, http_answers, http_callers, http_front, http_guard, http_parse, scim

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "http-api.md").read_text()


def test_every_code_is_in_the_reference() -> None:
    """Each code that the routes or the policy can answer with has its row."""
    sources = [
        Path(module.__file__ or "").read_text()
        for module in (http, http_callers, http_front, http_guard, http_parse)
    ]
    found = {code for text in sources for code in re.findall(r'Problem\(\s*\d+,\s*"([a-z.]+)"', text)}
    found |= {"json.invalid", "member.repeated", *http_answers.NOT_ACCEPTED}
    found |= set(re.findall(r'yield "([a-z.]+)"', Path(policy.__file__).read_text()))
    assert len(found) > 35
    assert sorted(code for code in found if f"`{code}`" not in DOCS) == []


def test_every_figure_and_outcome_is_in_the_reference() -> None:
    """Each series of the gateway has its row, and each outcome that an attempt is counted under its word."""
    text = PrometheusMeter(["default"]).expose({"default": Levels(0, 0, 0.0, None, 0, 1, 0)}, 0).decode()
    names = set(re.findall(r"^# TYPE (passferry_\w+)", text, flags=re.MULTILINE))
    assert len(names) > 12
    assert sorted(name for name in names if f"| `{name}` |" not in DOCS) == []
    assert [kind for kind in Kind if f"`{kind}`" not in DOCS] == []


def test_every_route_is_in_the_reference() -> None:
    """Each path of the application is named with its method."""
    routes = re.findall(r'\broute\("([A-Z]+)", "([^"]+)"', Path(http.__file__).read_text())
    assert len(routes) > 10
    routes += [(method, f"/scim/v2{path}") for method, path in scim.OPERATIONS]
    assert [route for route in routes if f"`{' '.join(route)}" not in DOCS] == []
