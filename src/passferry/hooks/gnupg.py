"""Whether GnuPG has any secret key here: without one nothing at all can be decrypted. No program is run."""

from collections.abc import Mapping
from pathlib import Path

REMEDY = "set GNUPGHOME for syncpasswords to where the private key is: no secret key is there now"


def gnupg_home(env: Mapping[str, str]) -> Path:
    """Where GnuPG looks: syncpasswords, which decrypts, passes its environment on to its script."""
    return Path(env.get("GNUPGHOME") or Path.home() / ".gnupg")


def has_no_secret_key(home: Path) -> bool:
    """Whether there is surely none; where that cannot be seen, there may be one.

    GnuPG 2.1 and later keep one in each file of ``private-keys-v1.d`` (a stub for one on a card), older
    ones all in ``secring.gpg``.
    """
    try:
        old = home / "secring.gpg"
        if old.exists() and old.stat().st_size:
            return False
        return not any(each.suffix == ".key" for each in (home / "private-keys-v1.d").iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
