"""Whom a load balancer may send to, as `/readyz` of a real process says."""

from pathlib import Path
from urllib.parse import urlsplit

from process.ground import POSTGRESQL, Ground
from process.harness import call, genesys, until
from process.wire import Wire


def test_who_does_not_reach_the_database_is_not_ready_until_it_does(tmp_path: Path) -> None:
    """A cut network says nothing to either side; the reason is told to nobody without a key."""
    ground = Ground(tmp_path, POSTGRESQL)
    try:
        with ground.place(tmp_path / "gateway", genesys("http://127.0.0.1:9")) as place:
            there = urlsplit(place.more["PASSFERRY_DATABASE_URL"])
            with Wire(there.hostname or "", there.port or 0) as wire:
                place.more = {**place.more, "PASSFERRY_DATABASE_URL": wire.url(there.geturl())}
                url = f"{place.serve().url}/readyz"
                assert call("GET", url).status == 200
                wire.cut()
                until(lambda: call("GET", url).status == 503, 20, "unready")
                assert set(call("GET", url).json) == {"success", "message", "code"}
                wire.mend()
                until(lambda: call("GET", url).status == 200, 20, "ready")
                place.end()
    finally:
        ground.close()
