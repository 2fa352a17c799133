"""What the gateway's figures say while it works, against the simulator, in virtual time."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from campaign.virtual_time import run
from campaign.world import CALLER, Plan, World
from passferry.accept import Request
from passferry.bootstrap import Gateway, assemble
from passferry.domain.change import Reference
from passferry.domain.password import Password
from passferry.domain.source_rules import SourceRules, SourceTables
from passferry.refusals import NotAccepted

GOOD = "Correct-Horse-7"


class Scene:
    """A gateway that delivers to a simulator, and its figures."""

    def __init__(self, plan: Plan) -> None:
        self.world = World(plan)

    async def push(self, user: int, password: str = GOOD) -> str:
        """Accept one change; its id."""
        user_id, _ = self.world.users[user]
        request = Request("default", Reference("id", user_id), Password(password))
        return (await self.world.gateway.accept.accept(CALLER, request)).change.id

    async def figures(self) -> dict[str, float]:
        """Samples by name and labels, as the text has them."""
        gateway = self.world.gateway  # without its thread, whose time does not pass here
        text = gateway.meter.expose(await gateway.levels(), gateway.hashes()).decode()
        lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}


def test_a_delivered_change_is_seen_in_the_figures() -> None:
    """Accepted, waiting, tried, applied; the requests it took are the quota used, the trail has moved on."""

    async def body() -> None:
        scene = Scene(Plan(seed=1))
        await asyncio.sleep(1)
        await scene.push(0)
        waiting = await scene.figures()
        assert waiting['passferry_backlog_changes{org="default"}'] == 1
        assert waiting['passferry_accepts_total{org="default",result="accepted"}'] == 1
        await asyncio.sleep(5)
        done = await scene.figures()
        assert done['passferry_backlog_changes{org="default"}'] == 0
        assert done['passferry_backlog_oldest_seconds{org="default"}'] == 0
        assert done['passferry_attempts_total{org="default",outcome="applied"}'] == 1
        assert done["passferry_delivery_seconds_count"] == 1
        assert done["passferry_accept_seconds_count"] == 1
        assert done['passferry_quota_used_requests{org="default"}'] == 2
        assert done['passferry_quota_allowed_requests{org="default"}'] == 300
        heads = await scene.world.stores.audit.heads()
        assert done['passferry_audit_head_sequence{org="default"}'] == heads["default"].seq == 3
        assert done["passferry_hash_queue"] == 0

    run(body())


def test_an_org_that_another_process_delivers_for_is_seen_here_but_for_its_pacing() -> None:
    """Whoever scrapes any process that serves misses no org; who spends the quota knows what is spent."""

    async def body() -> None:
        scene = Scene(Plan(seed=6))
        await asyncio.sleep(1)
        await scene.world.gateway.set_paused("default", True, "operator:ann")
        await scene.push(0)
        await asyncio.sleep(30)
        owners = await scene.figures()
        scene.world.gateway = assemble(
            scene.world.gateway.settings, scene.world.stores, hasher=None, fatal=_fatal
        )  # whose leases do not run
        others = await scene.figures()
        alike = ("backlog_changes", "backlog_oldest_seconds", "parked_changes", "audit_head_sequence")
        for name in [f'passferry_{each}{{org="default"}}' for each in alike]:
            assert others[name] == owners[name]
        assert others['passferry_backlog_changes{org="default"}'] == 1
        assert others['passferry_org_paused{by="operator",org="default"}'] == 1
        assert {name for name in owners if "quota" in name} - set(others) == {
            'passferry_quota_used_requests{org="default"}',
            'passferry_quota_allowed_requests{org="default"}',
        }

    run(body())


def _fatal(reason: str) -> None:
    raise AssertionError(reason)


def test_refusals_and_repeats_are_told_apart() -> None:
    """A password against the policy is counted under its code, the same one again as replayed."""

    async def body() -> None:
        scene = Scene(Plan(seed=2))
        await scene.push(0)
        await scene.push(0)
        with pytest.raises(NotAccepted):
            await scene.push(1, "short")
        found = await scene.figures()
        assert found['passferry_accepts_total{org="default",result="accepted"}'] == 1
        assert found['passferry_accepts_total{org="default",result="replayed"}'] == 1
        assert found['passferry_accepts_total{org="default",result="policy"}'] == 1
        assert found["passferry_accept_seconds_count"] == 2

    run(body())


def test_a_paused_org_shows_its_pause_and_how_long_changes_wait() -> None:
    """The pause is an operator's, and the age of the backlog grows with time."""

    async def body() -> None:
        scene = Scene(Plan(seed=3))
        await scene.world.gateway.set_paused("default", True, "operator:ann")
        await asyncio.sleep(1)
        await scene.push(0)
        await asyncio.sleep(90)
        await scene.push(1)
        found = await scene.figures()
        assert found['passferry_org_paused{by="operator",org="default"}'] == 1
        assert found['passferry_org_paused{by="delivery",org="default"}'] == 0
        assert found['passferry_backlog_changes{org="default"}'] == 2
        assert found['passferry_backlog_oldest_seconds{org="default"}'] == pytest.approx(90, abs=1)
        assert found['passferry_attempts_total{org="default",outcome="applied"}'] == 0

    run(body())


def test_a_refused_token_is_counted_and_pauses_the_org() -> None:
    """Each token request that fails is one more, by kind; the pause is delivery's own."""

    async def body() -> None:
        scene = Scene(Plan(seed=4, switches={"disabled_clients": ["simulator"]}))
        await scene.push(0)
        await asyncio.sleep(5)
        found = await scene.figures()
        assert found['passferry_token_failures_total{kind="refused",org="default"}'] >= 1
        assert found['passferry_attempts_total{org="default",outcome="org_down"}'] >= 1
        assert found['passferry_org_paused{by="delivery",org="default"}'] == 1

    run(body())


def test_a_change_that_expires_is_counted() -> None:
    """After the time to live of a paused org the change is counted as expired and waits no longer."""

    async def body() -> None:
        scene = Scene(Plan(seed=5))
        await scene.push(0)  # its answer confirms the clock, without which nothing expires
        await asyncio.sleep(5)
        await scene.world.gateway.set_paused("default", True, "operator:ann")
        await scene.push(1)
        await asyncio.sleep(72 * 3600 + 120)
        found = await scene.figures()
        assert found['passferry_expired_total{org="default"}'] == 1
        assert found['passferry_backlog_changes{org="default"}'] == 0

    run(body())


def test_a_stopped_source_is_named_as_its_key_is_and_once() -> None:
    """Though its table is spelt otherwise: no second line says that it is not stopped."""

    async def stopped() -> set[str]:
        return {"HR_Portal"}

    tables = {name: SourceRules(most_an_hour=1) for name in ("hr-portal", "pam")}
    settings = SimpleNamespace(sources=SourceTables({**tables, "night": SourceRules()}))
    figures = SimpleNamespace(stopped_sources=stopped)
    gateway: Any = SimpleNamespace(settings=settings, stores=SimpleNamespace(figures=figures))
    assert run(Gateway.stopped_sources(gateway)) == {"HR_Portal": True, "pam": False}
