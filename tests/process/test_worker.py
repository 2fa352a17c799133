"""A process that only delivers, as whoever watches it sees it."""

from pathlib import Path

from passferry.simulator import Settings
from process.ground import POSTGRESQL, Ground
from process.harness import Client, StandIn, call, until


def test_a_worker_tells_its_figures_and_takes_no_changes(tmp_path: Path) -> None:
    """What it delivered is counted by it; to everything but a question about itself it says 404."""
    ground = Ground(tmp_path, POSTGRESQL)
    try:
        with (
            StandIn(Settings.calm()) as target,
            ground.place(tmp_path / "gateway", target.settings()) as place,
        ):
            watcher, source = place.key("watcher", "--role", "metrics"), place.key("portal")
            user, _ = target.active_users()[0]
            assert place.run("orgs", "pause", "default").code == 0
            serve = place.serve()
            Client(serve.url, source).later(user, "Kept-For-Later-7!")
            assert serve.stop() == 0
            worker = place.spawn("worker", "--listen", "127.0.0.1:0")
            url = until(lambda: next((e["url"] for e in worker.events("working")), None), what="a start")
            assert call("GET", f"{url}/healthz").status == 200
            until(lambda: call("GET", f"{url}/readyz").status == 200, what="ready")
            assert place.run("orgs", "resume", "default").code == 0
            applied = b'passferry_attempts_total{org="default",outcome="applied"} 1.0'
            until(lambda: applied in call("GET", f"{url}/metrics", key=watcher).raw, what="a delivery")
            assert target.passwords(user) == ["Kept-For-Later-7!"]
            assert call("GET", f"{url}/metrics", key=source).status == 403
            body = {"userId": user, "password": "Not-Here-7!"}
            assert call("POST", f"{url}/sync/password", key=source, body=body).status == 404
            assert worker.stop() == 0
    finally:
        ground.close()
