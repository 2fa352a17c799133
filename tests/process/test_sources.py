"""Rules of a source, by real processes: what stops it outlives them, and ends when an operator says so."""

from pathlib import Path

from passferry.simulator import Settings
from process.harness import Client, StandIn, call, home, until

GOOD = "Correct-Horse-"


def test_a_stopped_source_stays_stopped_over_restarts_until_it_is_resumed(tmp_path: Path) -> None:
    """429 from the third change on, after a restart too; seen in list, figures and log; others go on."""
    rules = {"PASSFERRY_SOURCES_PAM_MOST_AN_HOUR": "2"}
    with (
        StandIn(Settings.calm(rate=1_000_000)) as target,
        home(tmp_path / "g", target.settings(), **rules) as place,
    ):
        key, other, desk = place.key("pam"), place.key("hr"), place.key("desk", "--role", "operator")
        gateway = place.serve()
        users = [user for user, _ in target.active_users()]

        def send(number: int, by: str = key) -> tuple[int, str]:
            answer = Client(gateway.url, by).send(users[number], f"{GOOD}{number}")
            return answer.status, str(answer.json.get("code"))

        assert [send(n)[0] for n in range(3)] == [200, 200, 429]
        assert gateway.stop() == 0
        assert b'"event": "source.stopped"' in gateway.err.read_bytes()
        gateway = place.serve()
        assert send(3) == (429, "source.stopped")
        assert send(3, other)[0] == 200
        figures = call("GET", gateway.url + "/metrics", key=desk).raw.decode()
        assert 'passferry_source_stopped{source="pam"} 1.0' in figures
        assert "stopped since" in place.run("access", "list").text
        assert place.run("access", "resume", "pam").code == 0
        assert until(lambda: send(4)[0] == 200, 5, "the source to send again")
        assert place.run("audit", "verify").code == 0


def test_a_user_that_is_never_touched_is_refused_by_name_at_once_and_by_id_before_the_write(
    tmp_path: Path,
) -> None:
    """403 by the listed name; by id 502, once the target was read; at the target nothing changed."""
    with StandIn(Settings.calm(rate=1_000_000)) as target:
        user, name = target.active_users()[0]
        rules = {"PASSFERRY_ORGS_DEFAULT_NEVER": f"x@example.com, {name.upper()}"}
        with home(tmp_path / "g", target.settings(), **rules) as place:
            client = Client(place.serve().url, place.key("pam"))
            first = client.send(name, GOOD + "1")
            assert (first.status, first.json["code"]) == (403, "user.protected")
            second = client.send(user, GOOD + "2")
            assert (second.status, second.json["code"], second.json["status"]) == (
                502,
                "user.protected",
                "refused",
            )
            assert target.passwords(user) == []
