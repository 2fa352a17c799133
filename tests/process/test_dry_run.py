"""`dry_run`: a roll-out in which a real gateway does everything but write."""

import json
from pathlib import Path
from typing import Any

from passferry.simulator import Settings

from .harness import Client, StandIn, call, home, until

CALM = Settings.calm(rate=100_000)


def _written(target: StandIn) -> list[str]:
    """Requests that could set a password."""
    return [
        f"{entry.method} {entry.path}"
        for entry in target.do(lambda s: s.journal())
        if entry.method in ("PUT", "PATCH", "POST") and entry.path != "/oauth/token"
    ]


def test_nothing_is_written_until_the_dry_run_ends(tmp_path: Path) -> None:
    """No request that could set a password is made; the next start without it delivers the newest."""
    dry = {"GENESYS_DRY_RUN": "true"}
    with StandIn(CALM, users=20) as target, home(tmp_path / "home", target.settings()) as place:
        running = place.serve(env=dry)
        key, operator = place.key(), place.key("admin", "--role", "operator")
        client = Client(running.url, key)
        user, name = target.active_users()[0]
        answer = client.send(user, "Correct-Horse-1", timeout=10)
        assert (answer.status, answer.json["message"]) == (202, "password accepted, delivery pending")
        change = client.change(answer.json["changeId"])
        assert (change["status"], change["error"]["code"], change["attempts"]) == ("pending", "dry.run", 0)
        newest = client.send(name, "Correct-Horse-2").json["changeId"]
        assert client.ends(answer.json["changeId"])["status"] == "superseded"
        unknown = client.send("nobody@example.com", "Correct-Horse-3")
        assert (unknown.status, unknown.json["code"]) == (502, "user.unknown")
        call("POST", f"{running.url}/changes/{newest}/retry", key=operator)
        until(lambda: client.change(newest)["error"]["code"] == "dry.run", 10, "the look")

        listed = json.loads(place.run("orgs", "list", "--json", env=dry).out)["orgs"][0]
        assert listed["dryRun"] is True
        assert b"running, dry run" in place.run("orgs", "list", env=dry).out
        figures = call("GET", f"{running.url}/metrics", key=operator).raw.decode()
        assert 'passferry_org_dry_run{org="default"} 1.0' in figures
        assert 'passferry_attempts_total{org="default",outcome="dry_run"} 3.0' in figures
        assert [entry["org"] for entry in running.events("dry.run")] == ["default"]
        found = place.run("doctor", "--json", env=dry)
        assert found.code == 0
        assert "nothing is written to this org" in found.out.decode()
        assert (_written(target), running.stop()) == ([], 0)

        url = place.serve().url
        assert Client(url, key).ends(newest)["status"] == "applied"
        assert target.passwords(user) == ["Correct-Horse-2"]
        assert _history(place.run("changes", "show", newest, "--history", "--json").out).count("attempt") == 1


def test_an_import_does_not_wait_for_the_end_of_a_dry_run(tmp_path: Path) -> None:
    """It ends once every user was looked at; when it is run again later, it reports what arrived."""
    with StandIn(CALM, users=20) as target, home(tmp_path / "home", target.settings()) as place:
        running = place.serve(env={"GENESYS_DRY_RUN": "true"})
        env = {"PASSFERRY_API_KEY": place.key("import"), "PASSFERRY_URL": running.url}
        rows = [f"{name},Correct-Horse-{n}\n" for n, (_, name) in enumerate(target.active_users()[:3])]
        file = tmp_path / "new.csv"
        file.write_text("userName,password\n" + "".join(rows))
        file.chmod(0o600)
        done = place.run("import", str(file), env=env)
        assert (done.code, done.out) == (4, b"rows: 3; 3 pending (dry run: nothing was written)\n")
        assert (_written(target), running.stop()) == ([], 0)

        env["PASSFERRY_URL"] = place.serve().url
        again = place.run("import", str(file), env=env)
        assert (again.code, again.out) == (0, b"rows: 3; 3 applied\n")


def _history(out: bytes) -> list[Any]:
    return [record["kind"] for record in json.loads(out)["history"]]
