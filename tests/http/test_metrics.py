"""The route of the figures."""

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from http_fakes import World
from passferry.store_ports import StoreAway


def test_figures_are_text_for_prometheus() -> None:
    """The media type names the format, and the text is as it was made."""
    world = World()
    answer = world.call("GET", "/metrics", key=world.metrics)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert [each.name for each in text_string_to_metric_families(answer.text)] == [
        "passferry_backlog_changes"
    ]


@pytest.mark.parametrize(
    ("who", "status"), [("metrics", 200), ("operator", 200), ("portal", 403), (None, 401)]
)
def test_figures_are_for_their_roles(who: str | None, status: int) -> None:
    """Roles metrics and operator see them, a source and a stranger do not, and nothing was looked up."""
    world = World()
    key = getattr(world, who) if who is not None else None
    assert world.call("GET", "/metrics", key=key).status_code == status
    assert len(world.scrapes) == (status == 200)


def test_a_key_of_some_orgs_asks_for_theirs() -> None:
    """The key's orgs are what is asked for; a key of all orgs asks for all."""
    world = World()
    for key in (world.emea_operator, world.both_operator, world.metrics):
        world.call("GET", "/metrics", key=key)
    assert world.scrapes == [("emea",), ("emea", "default"), ()]


def test_each_answer_is_counted_once_by_its_route_and_status() -> None:
    """Refusals before any route, of callers nobody knows, and defects, too; no label comes from outside."""
    world = World()
    world.sync()
    world.sync(key="pf_nobody")
    world.accept.failure = StoreAway()
    world.sync()
    world.accept.failure = ValueError("defect")
    world.sync()
    world.call("GET", "/changes/made-up", key=world.portal)
    world.call("GET", "/made-up", key=world.portal)
    world.call("GET", "/healthz", host="example.com")
    sync = "/sync/password"
    assert world.answered == [
        (sync, 202),
        (sync, 401),
        (sync, 503),
        (sync, 500),
        ("/changes/{id}", 404),
        ("none", 404),
        ("none", 421),
    ]


def test_a_head_of_figures_has_no_body() -> None:
    """HEAD answers as GET does, without the text."""
    world = World()
    got: Any = world.call("HEAD", "/metrics", key=world.metrics)
    assert (got.status_code, got.content) == (200, b"")
