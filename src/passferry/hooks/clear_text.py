"""Whether a value of ``userPassword`` is the password or a hash of it (RFC 2307 section 5.3, RFC 3112)."""

import re

_SCHEME = re.compile(rb"\s*\{[A-Za-z0-9_./-]+\}")


def looks_hashed(value: bytes) -> bool:
    """Whether ``value`` starts with a scheme in braces: ``{SSHA}``, ``{CRYPT}``, ``{pbkdf2-sha256}``, any.

    A real password may start so, too. It is not passed on: a hash that is taken for a password would be
    set at the target, where whoever has a copy of the directory could then log in.
    """
    return _SCHEME.match(value) is not None
