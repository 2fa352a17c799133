"""Hooks against a real gateway and the stand-in behind it: exact passwords, away and back, rotation."""

import base64
import json
import os
from pathlib import Path

from certificates import Authority
from hook_texts import PASSWORDS
from passferry.simulator import Settings
from process.harness import Done, Home, Running, StandIn, home, until


class Source:
    """A machine with hooks, its own key and spool."""

    def __init__(self, place: Home, gateway: Running, folder: Path) -> None:
        self.place, self.gateway, self.folder = place, gateway, folder
        self.config = folder / "hook.toml"
        key = place.key("portal", "--user-template", "{uid}@example.com")
        settings = {
            "url": gateway.url,
            "api_key": key,
            "spool": str(folder / "spool"),
            "seconds": 10.0,
        }
        lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
        self.config.write_text("\n".join(["[hook]", *lines, ""]))
        self.config.chmod(0o600)

    def ltb(self, mode: str, user: str, password: str) -> Done:
        """The portal calls its hook."""
        coded = base64.b64encode(password.encode()).decode()
        return self.place.run("hook", "ltb", "--config", str(self.config), mode, "--", user, coded)

    def pam_exec(self, user: str, password: str) -> Done:
        """pam_exec calls its hook, as recorded."""
        env = {"PAM_TYPE": "password", "PAM_USER": user, "PAM_SERVICE": "passwd"}
        arguments = ("hook", "pam", "--push", "--config", str(self.config))
        return self.place.run(*arguments, stdin=password.encode(), env=env)

    def flush(self) -> dict[str, object]:
        """``hook flush``."""
        done = self.place.run("hook", "flush", "--config", str(self.config), "--json")
        found: dict[str, object] = json.loads(done.out)
        return found

    def port(self) -> str:
        """Where the gateway listens."""
        return self.gateway.url.rpartition(":")[2]


def users(target: StandIn, number: int) -> list[str]:
    """Short names of active users."""
    return [name.partition("@")[0] for _, name in target.active_users()[:number]]


def arrives(target: StandIn, user: str, password: str) -> None:
    """The newest password of ``user`` at the target is ``password``."""
    name = f"{user}@example.com"
    until(lambda: target.passwords(name)[-1:] == [password], 30, f"{password!a} of {name}")


def test_every_password_arrives_exactly_through_each_hook(tmp_path: Path) -> None:
    """What was typed is what the target gets, byte for byte, through LTB's argv and pam_exec's input."""
    with (
        StandIn(Settings.calm(rate=1_000_000)) as target,
        home(tmp_path / "gateway", target.settings(), PASSFERRY_ORGS_DEFAULT_RATE="100000") as place,
    ):
        source = Source(place, place.serve(), tmp_path)
        for user, (name, password) in zip(users(target, len(PASSWORDS)), PASSWORDS.items(), strict=True):
            done = source.ltb("--post", user, password)
            assert done.code == 0, (name, done.text)
            arrives(target, user, password)
            done = source.pam_exec(user, "x" + password)
            assert done.code == 0, (name, done.text)
            arrives(target, user, "x" + password)
        assert source.ltb("--pre", "agent", "short").code == 1


def test_a_gateway_that_goes_and_comes_back_misses_nothing_and_undoes_nothing(tmp_path: Path) -> None:
    """Two changes while it is away: the newest arrives. A letter that is late never undoes a newer password.

    Meanwhile the keys are rotated: a letter to the old key still opens.
    """
    with (
        StandIn(Settings.calm(rate=1_000_000)) as target,
        home(tmp_path / "gateway", target.settings()) as place,
    ):
        source = Source(place, place.serve(), tmp_path)
        first, second = users(target, 2)
        assert source.ltb("--post", first, "Correct-Horse-0").code == 0
        port = source.port()
        assert source.gateway.stop() == 0
        for number in (1, 2):
            done = source.pam_exec(first, f"Correct-Horse-{number}")
            assert done.code == 0, done.text
        assert source.pam_exec(second, "Late-Horse-1").code == 0
        letters = list((tmp_path / "spool").glob("*.letter"))
        assert len(letters) == 3
        late = {path: path.read_bytes() for path in letters}
        assert place.run("keys", "rotate").code == 0
        source.gateway = place.serve("--port", port)
        assert source.ltb("--post", second, "Newer-Horse-2").code == 0
        arrives(target, first, "Correct-Horse-2")
        arrives(target, second, "Newer-Horse-2")
        for path, content in late.items():  # a duplicate delivery of everything
            path.write_bytes(content)
        assert source.flush()["left"] == 0
        arrives(target, first, "Correct-Horse-2")
        arrives(target, second, "Newer-Horse-2")
        whose = "pam" if os.geteuid() == 0 else "ltb"  # a portal's hook is not root's: nothing is fetched
        tested = place.run("hook", whose, "--config", str(source.config), "--self-test")
        assert "the gateway gives verdicts" in tested.text
        public = place.run("keys", "public")
        kept = json.loads((tmp_path / "spool" / "gateway-key").read_text())
        assert json.loads(public.out)["keyId"] == kept["keyId"]


def test_a_check_refuses_what_the_gateway_never_reads(tmp_path: Path) -> None:
    """A password beyond 16 KiB: refused before the source changes its own, and nothing is spooled after."""
    with (
        StandIn(Settings.calm(rate=1_000_000)) as target,
        home(tmp_path / "gateway", target.settings()) as place,
    ):
        source = Source(place, place.serve(), tmp_path)
        (user,) = users(target, 1)
        for length in (17_000, 60_000, 90_000):
            done = source.ltb("--pre", user, "Aa1-" + "x" * length)
            assert (done.code, done.out) == (1, b"The new password is too long.\n"), (length, done.text)
        assert source.ltb("--post", user, "Aa1-" + "x" * 60_000).code == 1
        assert not list((tmp_path / "spool").glob("*.letter"))


def test_a_revoked_key_loses_nothing(tmp_path: Path) -> None:
    """The password waits until the operator has given the source a new key."""
    with (
        StandIn(Settings.calm(rate=1_000_000)) as target,
        home(tmp_path / "gateway", target.settings()) as place,
    ):
        source = Source(place, place.serve(), tmp_path)
        (user,) = users(target, 1)
        assert source.ltb("--post", user, "Correct-Horse-0").code == 0
        old = source.config.read_text()
        assert place.run("access", "revoke", "portal").code == 0
        until(lambda: "sealed" in source.ltb("--post", user, "Correct-Horse-1").text, 10, "the key's end")
        key = place.key("portal", "--user-template", "{uid}@example.com")
        lines = [f'api_key = "{key}"' if line.startswith("api_key") else line for line in old.splitlines()]
        source.config.write_text("\n".join(lines) + "\n")
        assert source.flush()["left"] == 0
        arrives(target, user, "Correct-Horse-1")


def test_a_hook_hands_over_to_a_gateway_whose_certificate_a_ca_of_ones_own_signed(tmp_path: Path) -> None:
    """It is named by ``ca_file``; without it nothing is told to whoever answers, and the letter waits."""
    ca = Authority(tmp_path / "tls")
    cert, key = ca.issue("gateway")
    with (
        StandIn(Settings.calm(rate=1_000_000)) as target,
        home(tmp_path / "gateway", target.settings()) as place,
    ):
        serves = place.serve(env={"PASSFERRY_TLS_CERT": str(cert), "PASSFERRY_TLS_KEY": str(key)})
        source = Source(place, serves, tmp_path)
        assert source.gateway.url.startswith("https://")
        first, second = users(target, 2)
        plain = source.config.read_text()
        source.config.write_text(f"{plain}ca_file = {json.dumps(str(ca.cert))}\n")
        assert source.ltb("--post", first, "Over-Tls-1!").code == 0
        arrives(target, first, "Over-Tls-1!")
        source.config.write_text(plain)
        assert source.ltb("--post", second, "Over-Tls-2!").code == 0
        assert len(list((tmp_path / "spool").glob("*.letter"))) == 1
        assert target.passwords(f"{second}@example.com") == []
        source.config.write_text(f"{plain}ca_file = {json.dumps(str(ca.cert))}\n")
        assert source.flush()["left"] == 0
        arrives(target, second, "Over-Tls-2!")
