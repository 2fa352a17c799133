"""Programs of Debian that some tests run. Where they are missing, those tests are left out, and told."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

REQUIRED = "PASSFERRY_REQUIRE_DEBIAN"
"""Set, as CI does: nothing may be left out."""

TESTS = {"process/test_pam.py": ("pamtester", "libpam-script", "libpam-pwquality")}
"""Which test needs which packages; all need root, and mount namespaces of their own."""

_PROVES = {
    "pamtester": ("/usr/bin/pamtester",),
    "libpam-script": ("/lib/*/security/pam_script.so", "/usr/lib/*/security/pam_script.so"),
    "libpam-pwquality": ("/lib/*/security/pam_pwquality.so", "/usr/lib/*/security/pam_pwquality.so"),
}


@cache
def missing(test: str) -> str:
    """Why ``test`` cannot run here; "" when it can."""
    lacking = [package for package in TESTS[test] if not _installed(package)]
    if lacking:
        return f"apt-get install {' '.join(lacking)}"
    if os.geteuid() != 0:
        return "it needs root"
    if shutil.which("unshare") is None:
        return "there is no unshare"
    done = subprocess.run(["unshare", "--mount", "true"], capture_output=True, timeout=30, check=False)
    return "" if done.returncode == 0 else "mount namespaces are not allowed here"


def left_out() -> dict[str, str]:
    """The tests that cannot run here, and why."""
    return {test: reason for test in TESTS if (reason := missing(test))}


def _installed(package: str) -> bool:
    return any(next(Path("/").glob(place.lstrip("/")), None) for place in _PROVES[package])
