"""A real Samba AD domain controller, small and private: provisioned below a folder, served over ldapi."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from process.harness import until
from sources.programs import daemon, done, said, used

REALM = "EXAMPLE.COM"
"""So that a user principal name is a user name of the simulator's."""
ATTRIBUTES = (
    "objectGUID,objectSid,sAMAccountName,userPrincipalName,mail,userAccountControl,pwdLastSet,"
    "msDS-KeyVersionNumber,whenChanged,virtualSambaGPG,virtualClearTextUTF8"
)

HALF_A_PAIR = """
import sys, ldb
from samba.auth import system_session
from samba.param import LoadParm
from samba.samdb import SamDB
base, config, name = sys.argv[1:]
db = SamDB(url=base, session_info=system_session(), lp=LoadParm(config))
change = ldb.Message(db.search(expression=f"(sAMAccountName={name})")[0].dn)
value = '"Torn-Passw0rd-2\\ud83d"'.encode("utf-16-le", "surrogatepass")
change["unicodePwd"] = ldb.MessageElement(value, ldb.FLAG_MOD_REPLACE, "unicodePwd")
db.modify(change)
"""


@dataclass(frozen=True, slots=True)
class Dc:
    """Its programs, each with its configuration and its GnuPG."""

    folder: Path

    @property
    def config(self) -> str:
        return str(self.folder / "dc" / "etc" / "smb.conf")

    @property
    def env(self) -> dict[str, str]:
        return {"GNUPGHOME": str(self.folder / "gpg"), "SMB_CONF_PATH": self.config}

    def user(self, *arguments: str) -> str:
        """``samba-tool user ARGUMENTS`` on its database."""
        command, *rest = arguments
        base = str(self.folder / "dc" / "private" / "sam.ldb")
        return done("samba-tool", "user", command, "-H", base, *rest, env=self.env)

    def create(self, name: str, password: str, *options: str) -> None:
        self.user("create", *options, "--", name, used(password))

    def set_password(self, name: str, password: str, *options: str) -> None:
        self.user("setpassword", name, f"--newpassword={used(password)}", *options)

    def allow_every_password(self) -> None:
        """Of whatever length, and of whatever characters."""
        base = str(self.folder / "dc" / "private" / "sam.ldb")
        done(
            *("samba-tool", "domain", "passwordsettings", "set", "-H", base),
            *("--complexity=off", "--min-pwd-length=0"),
            env=self.env,
        )

    def set_half_a_pair(self, name: str) -> None:
        """A password that ends with half a surrogate pair: any client may set one, and no text is it."""
        base = str(self.folder / "dc" / "private" / "sam.ldb")
        done("/usr/bin/python3", "-c", HALF_A_PAIR, base, self.config, name, env=self.env)

    def create_computer(self, name: str) -> None:
        """The account of a machine, with a password as joining sets one."""
        base = str(self.folder / "dc" / "private" / "sam.ldb")
        done("samba-tool", "computer", "create", name, "-H", base, env=self.env)
        self.set_password(f"{name}$", "Machine-Passw0rd-1")

    def initialize(self, script: Path) -> None:
        """Tell ``syncpasswords`` what to call, at first or anew, as docs/sources/samba-ad.md says."""
        (self.folder / "dc" / "private" / "user-syncpasswords-cache.ldb").unlink(missing_ok=True)
        initialize = ("--cache-ldb-initialize", "--decrypt-samba-gpg")
        told = (f"--attributes={ATTRIBUTES}", f"--script={script}")
        done("samba-tool", "user", "syncpasswords", *initialize, *told, env=self.env)

    def sync(self, **more: str) -> tuple[int, str]:
        """One pass of ``syncpasswords``, as its daemon makes them: exit code, and what it logs."""
        return said("samba-tool", "user", "syncpasswords", "--no-wait", env=self.env | more)


@contextmanager
def domain_controller(folder: Path) -> Iterator[Dc]:
    """One that keeps clear text for a key of GnuPG's, and serves LDAP alone."""
    dc = Dc(folder)
    (folder / "gpg").mkdir(mode=0o700)
    done(
        *("gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", "samba"),
        *("future-default", "default", "never"),
        env=dc.env,
    )
    listed = done("gpg", "--batch", "--with-colons", "--list-keys", env=dc.env)
    key = next(line.split(":")[4] for line in listed.splitlines() if line.startswith("pub:"))
    done(
        *("samba-tool", "domain", "provision", f"--realm={REALM}", "--domain=EX", "--server-role=dc"),
        *("--dns-backend=NONE", "--adminpass=Domain-admin-1", f"--targetdir={folder / 'dc'}"),
    )
    config = Path(dc.config)
    own = {
        "server services": "ldap",
        "password hash gpg key ids": key,
        "log file": f"{folder}/log.%m",
        # Two of them, or one of the machine's own, do not meet; and nobody reaches it from elsewhere.
        "interfaces": f"127.{os.getpid() >> 16 & 127 | 128}.{os.getpid() >> 8 & 255}.{os.getpid() & 255}/32",
        "bind interfaces only": "yes",
        "pid directory": f"{folder}/run",
        "ncalrpc dir": f"{folder}/run/ncalrpc",
        "winbindd socket directory": f"{folder}/run/winbindd",
    }
    (folder / "run").mkdir()
    lines = [line for line in config.read_text().splitlines() if line.partition("=")[0].strip() not in own]
    at = lines.index("[global]") + 1
    lines[at:at] = [f"\t{name} = {value}" for name, value in own.items()]
    config.write_text("\n".join([*lines, ""]))
    socket = folder / "dc" / "private" / "ldap_priv" / "ldapi"
    command = ["samba", "--foreground", "--no-process-group", "-s", dc.config]
    with daemon(command, folder / "samba.log", env=os.environ | dc.env):
        until(socket.exists, 120, "samba")
        yield dc
        said("gpgconf", "--kill", "gpg-agent", env=dc.env)
