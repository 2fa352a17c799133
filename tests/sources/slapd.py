"""A real slapd with the ``sock`` overlay, set up as docs/sources/openldap.md says."""

import base64
import os
import pwd
import re
import shutil
import socket
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from process.harness import until
from sources.programs import daemon, done, said, used

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sources" / "openldap.md"
SUFFIX = "dc=example,dc=org"
ADMIN = f"cn=admin,{SUFFIX}"
ADMIN_PASSWORD = "Directory-admin-1"
PORTAL = f"cn=portal,{SUFFIX}"
PORTAL_PASSWORD = "Portals-own-1"
FIRST = "First-Passw0rd-0"

CONFIG = """\
dn: cn=config
objectClass: olcGlobal
cn: config

dn: cn=module,cn=config
objectClass: olcModuleList
cn: module
olcModulePath: /usr/lib/ldap
olcModuleLoad: back_mdb
olcModuleLoad: back_sock
olcModuleLoad: ppolicy

dn: cn=schema,cn=config
objectClass: olcSchemaConfig
cn: schema

include: file:///etc/ldap/schema/core.ldif
include: file:///etc/ldap/schema/cosine.ldif
include: file:///etc/ldap/schema/nis.ldif
include: file:///etc/ldap/schema/inetorgperson.ldif

dn: olcDatabase=mdb,cn=config
objectClass: olcDatabaseConfig
objectClass: olcMdbConfig
olcDatabase: mdb
olcSuffix: dc=example,dc=org
olcRootDN: cn=admin,dc=example,dc=org
olcRootPW: Directory-admin-1
olcDbDirectory: {folder}/data
olcAccess: to attrs=userPassword by self write by dn.exact="cn=portal,{suffix}" write
  by anonymous auth by * none
olcAccess: to attrs=shadowLastChange by self write by * read
olcAccess: to attrs=description by self write by * read
olcAccess: to * by dn.exact="cn=portal,{suffix}" write by * read

dn: olcOverlay=ppolicy,olcDatabase={{1}}mdb,cn=config
objectClass: olcOverlayConfig
objectClass: olcPPolicyConfig
olcOverlay: ppolicy
olcPPolicyDefault: cn=policy,dc=example,dc=org
olcPPolicyHashCleartext: TRUE

dn: olcOverlay=sock,olcDatabase={{1}}mdb,cn=config
objectClass: olcOverlayConfig
objectClass: olcOvSocketConfig
olcOverlay: sock
olcDbSocketPath: {folder}/hook/openldap.sock
olcDbSocketExtensions: binddn peername ssf connid
olcOvSocketOps: extended modify add
olcOvSocketResps: result

"""
DATA = """\
dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: cn=policy,dc=example,dc=org
objectClass: device
objectClass: pwdPolicy
cn: policy
pwdAttribute: userPassword
pwdMinLength: 10
pwdCheckQuality: 2
pwdInHistory: 3

dn: cn=portal,dc=example,dc=org
objectClass: device
objectClass: simpleSecurityObject
cn: portal
userPassword: Portals-own-1

"""


def person(uid: str, password: str | None = FIRST) -> str:
    """A user as LDIF."""
    coded = (
        "" if password is None else f"userPassword:: {base64.b64encode(used(password).encode()).decode()}\n"
    )
    kinds = "objectClass: inetOrgPerson\nobjectClass: shadowAccount\n"
    return f"dn: {dn(uid)}\n{kinds}cn: {uid}\nsn: {uid}\nuid: {uid}\n{coded}\n"


def dn(uid: str) -> str:
    """Of a user."""
    return f"uid={uid},{SUFFIX}"


@dataclass(frozen=True, slots=True)
class Slapd:
    """A server, and OpenLDAP's own tools as its clients."""

    folder: Path
    port: int

    @property
    def socket(self) -> Path:
        """Where the hook listens."""
        return self.folder / "hook" / "openldap.sock"

    @property
    def ldapi(self) -> Path:
        return self.folder / "ldapi"

    @property
    def config(self) -> Path:
        return self.folder / "slapd.d"

    def _file(self, password: str, name: str = "password") -> str:
        """Tools read a password from a file, so that it is no argument."""
        path = self.folder / name
        path.write_text(used(password))
        path.chmod(0o600)
        return str(path)

    def _as(self, uid: str | None, password: str) -> list[str]:
        """As a user, by the uid; as an account that has a DN; or, None, as the administrator."""
        who = ADMIN if uid is None else uid if "=" in uid else dn(uid)
        url = f"ldap://127.0.0.1:{self.port}"
        return ["-H", url, "-x", "-D", who, "-y", self._file(ADMIN_PASSWORD if uid is None else password)]

    def passwd(
        self, uid: str, new: str | None, by: str | None = None, old: str = "", spelled: str | None = None
    ) -> tuple[int, str]:
        """``ldappasswd`` by the administrator, or by a user (with the old one); of whoever is ``spelled``."""
        arguments = ["ldappasswd", *self._as(by, old)]
        if new is not None:
            arguments += ["-T", self._file(new, "new")]
        whose = spelled if spelled is not None or by == uid else dn(uid)
        return said(*arguments, *([] if whose is None else [whose]))

    def modify(self, ldif: str, by: str | None = None, old: str = "") -> tuple[int, str]:
        """``ldapmodify``; an entry without ``changetype`` is added."""
        return said("ldapmodify", "-a", *self._as(by, old), stdin=ldif)

    def takes(self, uid: str, password: str) -> bool:
        """Whether a user can log in."""
        return said("ldapwhoami", *self._as(uid, password))[0] == 0


def write(uid: str, *lines: str, attribute: str = "userPassword") -> str:
    """LDIF of a modify: each line is an operation and a value, as in ``replace New-1``."""
    parts = []
    for line in lines:
        operation, _, value = line.partition(" ")
        secret = used(value) if attribute == "userPassword" else value
        coded = base64.b64encode(secret.encode()).decode()
        parts.append(f"{operation}: {attribute}\n{attribute}:: {coded}\n-\n")
    return f"dn: {dn(uid)}\nchangetype: modify\n{''.join(parts)}\n"


def rule_of_the_page() -> str:
    """The access rule that the page has one add to Debian's own."""
    text = PAGE.read_text()
    (found,) = re.findall(r"    dn: olcDatabase=.*\n    changetype: modify\n(?:    .*\n)+", text)
    return textwrap.dedent(found) + "\n"


@contextmanager
def slapd(folder: Path, users: list[str]) -> Iterator[Slapd]:
    """A server below ``folder``, under its own user where we are root."""
    for name in ("slapd.d", "data", "hook"):
        (folder / name).mkdir()
    done(
        "slapadd", "-n", "0", "-F", str(folder / "slapd.d"), stdin=CONFIG.format(folder=folder, suffix=SUFFIX)
    )
    done("slapmodify", "-n", "0", "-F", str(folder / "slapd.d"), stdin=rule_of_the_page())
    people = "".join(map(person, users))
    done("slapadd", "-b", SUFFIX, "-F", str(folder / "slapd.d"), stdin=DATA + people)
    own: list[str] = []
    if os.geteuid() == 0:
        own = ["-u", user(), "-g", user()]
        for path in [folder, *folder.rglob("*")]:
            if path.name != "hook":
                shutil.chown(path, user(), user())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Slapd(folder, port)
    urls = f"ldap://127.0.0.1:{port} ldapi://{quote(str(server.ldapi), safe='')}"
    command = ["slapd", "-F", str(server.config), "-h", urls, "-d", "0", *own]
    with daemon(command, folder / "slapd.log"):
        until(lambda: answers(port), 20, "slapd")
        yield server


def user() -> str:
    """Who runs it."""
    return "openldap" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


def answers(port: int) -> bool:
    """Whether it listens."""
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0
