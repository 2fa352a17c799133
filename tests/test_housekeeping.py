"""What `serve` does at its start and every minute, while the store is away."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import structlog

from campaign.virtual_time import run
from http_fakes import StillClock
from passferry.bootstrap import Gateway
from passferry.config import OrgSettings, Settings
from passferry.domain.audit import Head
from passferry.domain.source_rules import SourceRules, SourceTables
from passferry.entrypoints.serve import (
    HEADS_EVERY,
    _keep_house,
    _say_what_guards_nobody,
    _say_what_is_left_out,
    _say_who_provisions,
)
from passferry.store_ports import Caller, OrgFigures, StoreAway, StoreBusy


def test_a_minute_without_the_store_does_not_end_housekeeping() -> None:
    """A locked database or a full disk passes: the next minute looks, prunes and empties the log again."""
    emptied, kept = list[float](), list[float]()
    troubles: list[Exception] = [StoreBusy("locked"), OSError("disk")]

    async def heads() -> dict[str, Head]:
        if troubles:
            raise troubles.pop()
        return {}

    async def checkpoint() -> None:
        emptied.append(asyncio.get_running_loop().time())

    stores = SimpleNamespace(
        audit=SimpleNamespace(heads=heads), database=SimpleNamespace(checkpoint=checkpoint)
    )

    async def keep_house() -> None:
        kept.append(asyncio.get_running_loop().time())

    gateway: Any = SimpleNamespace(
        stores=stores, unready=list, keep_house=keep_house, clock_unconfirmed=lambda: False
    )

    async def body() -> None:
        task = asyncio.create_task(_keep_house(gateway))
        await asyncio.sleep(3.5 * HEADS_EVERY)
        task.cancel()

    run(body())
    assert emptied == kept == [2 * HEADS_EVERY, 3 * HEADS_EVERY]


def _watched(clock: StillClock, **confirmed_at: float | None) -> Any:
    """A gateway for whose orgs the clock was confirmed at these monotonic times, or never since 0.5."""
    deliveries = {
        org: SimpleNamespace(started=0.5, gate=SimpleNamespace(clock_confirmed_at=at))
        for org, at in confirmed_at.items()
    }
    fake: Any = SimpleNamespace(
        clock=clock,
        deliveries=deliveries,
        stores=SimpleNamespace(sealer=SimpleNamespace(missing=set[str])),
        leases=SimpleNamespace(out_of_touch=lambda: False),
        accept=SimpleNamespace(full=lambda: False),
    )
    fake.unready = lambda: Gateway.unready(fake)
    fake.clock_unconfirmed = lambda: Gateway.clock_unconfirmed(fake)
    return fake


def test_whoever_is_sent_nothing_for_weeks_stays_ready() -> None:
    """Nobody was asked, so nothing confirmed the clock: a load balancer goes on sending here."""
    clock = StillClock()
    gateway = _watched(clock, quiet=None, paused=3.0)
    clock.at = 30 * 86400.0
    assert gateway.unready() == []
    assert gateway.clock_unconfirmed()


def test_an_answer_to_any_org_confirms_the_clock_of_all() -> None:
    """They share it; without orgs of its own a process has nothing to say of it."""
    clock = StillClock()
    clock.at = 8 * 86400.0
    assert not _watched(clock, quiet=None, busy=clock.at - 60.0).clock_unconfirmed()
    assert _watched(clock, quiet=None, busy=60.0).clock_unconfirmed()
    assert not _watched(clock).clock_unconfirmed()


def test_an_unconfirmed_clock_is_said_once() -> None:
    """Not every minute for as long as nothing is sent; and again when it was confirmed between."""
    states = [False, True, True, False, True]

    async def heads() -> dict[str, Head]:
        states.pop(0)
        return {}

    async def nothing() -> None:
        return

    stores = SimpleNamespace(audit=SimpleNamespace(heads=heads), database=SimpleNamespace(checkpoint=nothing))
    gateway: Any = SimpleNamespace(
        stores=stores, unready=list, keep_house=nothing, clock_unconfirmed=lambda: states[0]
    )

    async def body() -> None:
        task = asyncio.create_task(_keep_house(gateway))
        await asyncio.sleep(4.5 * HEADS_EVERY)
        task.cancel()

    with structlog.testing.capture_logs() as logs:
        run(body())
    assert [line["event"] for line in logs] == ["clock.unconfirmed"] * 2


def test_a_start_without_the_store_says_of_no_key_that_it_may_not_provision() -> None:
    """Null, which is not an empty list; and the start goes on."""

    async def keys() -> list[tuple[Caller, bytes]]:
        raise StoreAway("away")

    settings = Settings(Path(), Path(), orgs={"emea": OrgSettings("emea", scim="proxy")})
    stores = SimpleNamespace(access=SimpleNamespace(keys=keys))
    gateway: Any = SimpleNamespace(stores=stores, settings=settings)
    with structlog.testing.capture_logs() as logs:
        run(_say_who_provisions(gateway))
    assert [(line["event"], line["org"], line["sources"]) for line in logs] == [("scim.proxy", "emea", None)]


def test_a_start_names_the_tables_of_sources_that_guard_nobody() -> None:
    """Those without a key of the name; none is named by guess when the keys cannot be read."""
    found: list[tuple[Caller, bytes]] | None = [(Caller("1", "Okta", "source", ()), b"")]

    async def keys() -> list[tuple[Caller, bytes]]:
        if found is None:
            raise StoreAway("away")
        return found

    tables = SourceTables({"okta": SourceRules(), "oktaa": SourceRules()})
    stores = SimpleNamespace(access=SimpleNamespace(keys=keys))
    gateway: Any = SimpleNamespace(stores=stores, settings=Settings(Path(), Path(), sources=tables))
    with structlog.testing.capture_logs() as logs:
        run(_say_what_guards_nobody(gateway))
        found = None
        run(_say_what_guards_nobody(gateway))
    assert [(line["event"], line["source"]) for line in logs] == [("source.without.key", "oktaa")]


def test_a_start_names_the_orgs_that_were_taken_out_with_live_changes() -> None:
    """Nobody delivers them, and no figure has them; none is named that left nothing, or is configured."""
    found: dict[str, OrgFigures] | None = {
        "emea": OrgFigures(2, 1, None, None, 9, 0.0),
        "empty": OrgFigures(0, 0, None, "operator", 9, 0.0),
        "here": OrgFigures(7, 0, None, None, 9, 0.0),
    }

    async def orgs() -> dict[str, OrgFigures]:
        if found is None:
            raise StoreAway("away")
        return found

    settings = Settings(Path(), Path(), orgs={"here": OrgSettings("here")})
    stores = SimpleNamespace(figures=SimpleNamespace(orgs=orgs))
    gateway: Any = SimpleNamespace(stores=stores, settings=settings)
    with structlog.testing.capture_logs() as logs:
        run(_say_what_is_left_out(gateway))
        found = None
        run(_say_what_is_left_out(gateway))
    assert [(line["event"], line["org"], line["live"]) for line in logs] == [("org.left.out", "emea", 3)]
