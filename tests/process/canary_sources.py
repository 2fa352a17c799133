"""The secrets through a file and through every hook, with somebody who looks at each while it runs."""

import base64
import os
import pwd
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from process.canary import CANARY, REFUSED, Scene
from process.harness import Done, until

BIND_SUCCEEDED = bytes.fromhex("300c02010161070a010004000400")
"""LDAP's answer to the first message of a connection (RFC 4511 section 4.2.2)."""


def imports(scene: Scene) -> None:
    """Files with the canary, outside of what is searched: good, refused, and malformed in every way."""
    path, kept = scene.place.root.parent / "new.csv", scene.place.root.parent / "new.csv.import"
    quoted = '"' + CANARY.replace('"', '""') + '"'
    (_, first), (_, second) = scene.user(22), scene.user(23)
    good = f"userName,password\n{first},{quoted}\n{second},{REFUSED}\n".encode()
    contents = {
        "good and refused": good,
        "no header": f"{first},{quoted}\n".encode(),
        "password as header": f"{CANARY},{quoted}\n".encode(),
        "a cell too many": good + f"{first},{CANARY},{REFUSED}\n".encode(),
        "broken quotes": good + f'{first},"{CANARY}"x\n'.encode(),
        "not utf-8": good + b"x," + CANARY.encode() + b"\xff\n",
        "as a time": f"userName,password,changedAt\n{first},{quoted},{quoted}\n".encode(),
    }
    for name, content in contents.items():
        path.write_bytes(content)
        path.chmod(0o600)
        for more in ((), ("--dry-run", "--json")):
            done = scene.command(f"import, {name}", "import", str(path), *more, stdin="")
            assert done.code == 1, done.text
        if kept.exists():
            scene.trail.seen.append((f"kept of {name}", kept.read_bytes()))
    assert CANARY in scene.target.passwords(scene.user(22)[0])
    path.unlink()


class Hooks:
    """A machine with every hook: one user, one configuration, one spool."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        _, self.user = scene.user(21)
        self.spool = scene.place.root / "spool"
        self.config = self._file("hook", scene.watched())
        self.config_of_directory = self._file("openldap", scene.watched(scene.directory))
        self._accounts = 0

    def _file(self, name: str, url: str) -> Path:
        lines = {"url": url, "api_key": self.scene.key, "spool": str(self.spool)}
        text = "".join(f'{key} = "{value}"\n' for key, value in lines.items())
        path = self.scene.place.root / f"{name}.toml"
        path.write_text(f"[hook]\n{text}seconds = 30\n")
        path.chmod(0o600)
        return path

    def letters(self) -> int:
        """How many are spooled."""
        return len(list(self.spool.glob("*.letter")))

    def ltb(self, mode: str, password: str, *, plain: bool = False) -> Done:
        """The portal's call, with an old password."""
        given = password if plain else base64.b64encode(password.encode()).decode()
        how = ["--plain"] if plain else []
        options = ("--config", str(self.config), mode, *how)
        return self.scene.hook("ltb", *options, "--", self.user, given, given)

    def pam(self, mode: str, password: str, *, script: bool) -> Done:
        """By pam_script's environment, or by pam_exec's input."""
        env = {"PAM_TYPE": "password", "PAM_USER": self.user}
        env |= {"PAM_AUTHTOK": password, "PAM_OLDAUTHTOK": password} if script else {}
        stdin = b"" if script else password.encode()
        return self.scene.hook("pam", mode, "--config", str(self.config), stdin=stdin, env=env)

    def samba(self, password: str, more: str = "") -> Done:
        """An account that has not been there before, as ``syncpasswords`` writes it."""
        self._accounts += 1
        now = int((time.time() + 11_644_473_600) * 10_000_000)  # FILETIME
        lines = [
            "dn: CN=carol,CN=Users,DC=example,DC=com",
            f"objectGUID: 00000000-0000-4000-8000-{self._accounts:012d}",
            "sAMAccountName: carol",
            f"userPrincipalName: {self.user}",
            "userAccountControl: 512",
            f"pwdLastSet: {now}",
            "msDS-KeyVersionNumber: 2",
            f"virtualClearTextUTF8:: {base64.b64encode(password.encode()).decode()}",
        ]
        ldif = "\n".join([*lines, more, ""]).encode()
        return self.scene.hook("samba", "--config", str(self.config), stdin=ldif)


def hooks(scene: Scene) -> None:
    """Each hook, refused and taken; then with the gateway away, so that it spools; then handed over."""
    machine = Hooks(scene)
    with openldap(machine) as directory:
        refused = [
            machine.ltb("--pre", REFUSED).code,
            machine.ltb("--post", REFUSED, plain=True).code,
            machine.pam("--check", REFUSED, script=True).code,
            machine.pam("--push", REFUSED, script=False).code,
        ]
        assert refused == [1, 1, 1, 1]
        assert b"DONE-EXIT: refused" in machine.samba(REFUSED).out
        assert b"code: 19" in directory(REFUSED)
        for away in (False, True):
            scene.watch.away = scene.directory.away = away
            for script in (True, False):
                assert machine.pam("--check", CANARY, script=script).code == 0
                assert machine.pam("--push", CANARY, script=script).code == 0
            for plain in (True, False):
                assert machine.ltb("--pre", CANARY, plain=plain).code == 0
                assert machine.ltb("--post", CANARY, plain=plain).code == 0
            settled = b"DONE-EXIT: spooled" if away else b"DONE-EXIT: accepted"
            assert settled in machine.samba(CANARY).out
            assert directory(CANARY) == b"CONTINUE\n"
            until(lambda: machine.letters() == (6 if scene.directory.away else 0), 30, "letters")
            assert scene.leaks() == []
        scene.watch.away = scene.directory.away = False
        assert machine.pam(CANARY, CANARY, script=True).code == 2
        assert machine.ltb(CANARY, CANARY).code == 2
        assert machine.samba(CANARY, more=CANARY).code == 1
        assert b"code: 80" in directory("", more=f"?: userPassword {CANARY}\n")
        assert scene.leaks() == []
        assert scene.hook("flush", "--config", str(machine.config)).code == 0
    until(lambda: CANARY in scene.target.passwords(machine.user), 30, "what hooks sent")
    looked_at(scene)


def looked_at(scene: Scene) -> None:
    """The search has seen each of them, and what each told the machine's log."""
    for name in ("ltb", "pam", "samba", "flush"):
        assert scene.watch.saw("hook", name), name
    assert scene.directory.saw("hook", "openldap")
    assert scene.watch.saw("import")
    assert scene.watch.closed or any(b"PAM_AUTHTOK=" in each for _, each in scene.watch.environments)
    log = (scene.place.root / "machine.log").read_text()
    for name in ("ltb", "pam", "samba", "openldap"):
        for what in ("accepted", "spooled", "refused"):
            if (name, what) != ("openldap", "refused"):  # that is slapd's answer
                assert f" {name}: the password of {scene.user(21)[1]!a}: {what}" in log, (name, what)
    assert "a password was let through without a check" in log
    assert "openldap: slapd sent what cannot be read" in log


@contextmanager
def openldap(machine: Hooks) -> Iterator["Directory"]:
    """The hook serves, and a slapd stands beside it that takes every password."""
    with tempfile.TemporaryDirectory(prefix="passferry-") as below, socket.socket(socket.AF_UNIX) as slapd:
        folder = Path(below)
        slapd.bind(str(folder / "ldapi"))
        slapd.listen()
        threading.Thread(target=answer_binds, args=(slapd,), daemon=True).start()
        where = ("--socket", str(folder / "sock"), "--ldapi", str(folder / "ldapi"))
        user = ("--slapd-user", pwd.getpwuid(os.geteuid()).pw_name)
        options = (*where, *user, "--config", str(machine.config_of_directory))
        running = machine.scene.place.spawn("hook", "openldap", *options, module="process.heard")
        until(lambda: b"listens at" in running.out.read_bytes(), 30, running.log())
        yield Directory(folder / "sock", machine.user)
        assert running.stop() == 0
        slapd.shutdown(socket.SHUT_RDWR)


def answer_binds(slapd: socket.socket) -> None:
    """Until it is shut down: success to everybody."""
    with suppress(OSError):
        while True:
            connection, _ = slapd.accept()
            with connection, suppress(OSError):
                if connection.recv(1 << 16):
                    connection.sendall(BIND_SUCCEEDED)


class Directory:
    """What slapd says to the hook about one user."""

    def __init__(self, path: Path, user: str) -> None:
        self._path, self._user, self._number = path, user, 0

    def __call__(self, password: str, more: str = "") -> bytes:
        """A new password, and the success of the write; the hook's verdict. ``more`` makes it no LDIF."""
        self._number += 1
        ids = f"msgid: {self._number}\nconnid: 1000\n"
        coded = base64.b64encode(password.encode()).decode()
        write = f"dn: uid={self._user},dc=example,dc=com\nreplace: userPassword\nuserPassword:: {coded}\n-\n"
        verdict = self._say(f"MODIFY\n{ids}{more or write}\n")
        if verdict == b"CONTINUE\n":
            self._say(f"RESULT\n{ids}code: 0\n\n")
        return verdict

    def _say(self, block: str) -> bytes:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(20)
            line.connect(str(self._path))
            line.sendall(block.encode())
            return line.recv(4096)
