"""Inbound SCIM at a gateway that does not own the org: on PostgreSQL, another process delivers."""

from contextlib import closing
from pathlib import Path

from passferry.simulator import Settings
from process.ground import POSTGRESQL, Ground
from process.harness import StandIn, call, until


def test_a_gateway_that_does_not_own_the_org_reads_and_takes_passwords(tmp_path: Path) -> None:
    """Two gateways answer from the org's users, one of them owning it; a password sent to either arrives."""
    with (
        StandIn(Settings.calm(rate=1_000_000), users=5) as target,
        closing(Ground(tmp_path, POSTGRESQL)) as ground,
        ground.place(tmp_path / "gateways", target.settings()) as place,
    ):
        gateways = [place.serve() for _ in range(2)]
        user, name = target.active_users()[0]
        until(lambda: any(one.events("delivery.started") for one in gateways), 30, "an owner")
        assert sum(len(one.events("delivery.started")) for one in gateways) == 1
        for number, gateway in enumerate(gateways):
            there = f"{gateway.url}/scim/v2/Users/{user}"
            found = call("GET", there, key=ground.source)
            assert (found.status, found.json["userName"]) == (200, name)
            password = f"From-Gateway-{number}"
            sent = call("PUT", there, key=ground.source, body=found.json | {"password": password})
            assert (sent.status, sent.headers["passferry-change-status"]) == (200, "applied")
            assert target.passwords(user)[-1] == password
