"""Programs of Debian that some tests run. Where they are missing, those tests are left out, and told."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

REQUIRED = "PASSFERRY_REQUIRE_DEBIAN"
"""Set, as CI does: nothing may be left out."""

TESTS = {
    "process/test_pam.py": ("pamtester", "libpam-script", "libpam-pwquality"),
    "sources/test_openldap.py": ("slapd", "ldap-utils"),
    "sources/test_samba.py": ("samba", "samba-ad-provision", "samba-dsdb-modules", "python3-gpg", "gnupg"),
}
"""Which test needs which packages; all need root."""
_NAMESPACES = frozenset({"process/test_pam.py"})
"""Which need mount namespaces of their own, too."""

_PROVES = {
    "pamtester": ("/usr/bin/pamtester",),
    "libpam-script": ("/lib/*/security/pam_script.so", "/usr/lib/*/security/pam_script.so"),
    "libpam-pwquality": ("/lib/*/security/pam_pwquality.so", "/usr/lib/*/security/pam_pwquality.so"),
    "slapd": ("/usr/sbin/slapd",),
    "ldap-utils": ("/usr/bin/ldappasswd",),
    "samba": ("/usr/sbin/samba",),
    "samba-ad-provision": ("/usr/share/samba/setup/provision.ldif",),
    "samba-dsdb-modules": ("/usr/lib/*/samba/ldb/samldb.so",),
    "python3-gpg": ("/usr/lib/python3/dist-packages/gpg/__init__.py",),
    "gnupg": ("/usr/bin/gpg",),
}


@cache
def missing(test: str) -> str:
    """Why ``test`` cannot run here; "" when it can."""
    lacking = [package for package in TESTS[test] if not _installed(package)]
    if lacking:
        return f"apt-get install {' '.join(lacking)}"
    if os.geteuid() != 0:
        return "it needs root"
    return _namespaces() if test in _NAMESPACES else ""


def _namespaces() -> str:
    if shutil.which("unshare") is None:
        return "there is no unshare"
    done = subprocess.run(["unshare", "--mount", "true"], capture_output=True, timeout=30, check=False)
    return "" if done.returncode == 0 else "mount namespaces are not allowed here"


def left_out() -> dict[str, str]:
    """The tests that cannot run here, and why."""
    return {test: reason for test in TESTS if (reason := missing(test))}


def _installed(package: str) -> bool:
    return any(next(Path("/").glob(place.lstrip("/")), None) for place in _PROVES[package])
