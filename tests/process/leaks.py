"""A search for secrets in every form in which one could leak."""

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, quote_plus

from process.harness import Running


def forms(secret: str) -> dict[str, bytes]:
    """The secret itself, coded in the ways of the formats around us, and hashed without salt."""
    raw = secret.encode()
    as_json = json.dumps(secret)[1:-1]
    found = {
        "clear": raw,
        "json": as_json.encode(),
        "json in json": json.dumps(as_json)[1:-1].encode(),
        "json, unicode": json.dumps(secret, ensure_ascii=False)[1:-1].encode(),
        "repr": repr(secret)[1:-1].encode(),
        "repr of bytes": repr(raw)[2:-1].encode(),
        "url": quote(secret, safe="").encode(),
        "url path": quote(secret).encode(),
        "form": quote_plus(secret).encode(),
        "hex": raw.hex().encode(),
        "hex, capital": raw.hex().upper().encode(),
        "utf-16": secret.encode("utf-16-le"),
        "utf-16, big": secret.encode("utf-16-be"),
    }
    with suppress(UnicodeEncodeError):
        found["latin-1"] = secret.encode("latin-1")
    for skip in range(3):  # it looks different at each alignment, and its edges depend on the neighbours
        coded = base64.b64encode(b"\0" * skip + raw)
        found[f"base64, {skip}"] = coded[4 if skip else 0 : (len(raw) + skip) // 3 * 4]
        found[f"base64url, {skip}"] = found[f"base64, {skip}"].translate(bytes.maketrans(b"+/", b"-_"))
    for name in ("md5", "sha1", "sha256", "sha512"):
        digest = hashlib.new(name, raw, usedforsecurity=False).digest()
        found[name] = digest
        found[f"{name}, hex"] = digest.hex().encode()
        found[f"{name}, base64"] = base64.b64encode(digest)[:20]
    return found


def search(secrets: Sequence[str], places: Iterable[tuple[str, bytes]]) -> list[str]:
    """Where any form of any secret is: the place, the number of the secret, and the form."""
    wanted = [(number, name, form) for number, s in enumerate(secrets) for name, form in forms(s).items()]
    different = {form for _, _, form in wanted}  # of a plain password most are the same
    found = []
    for place, data in places:
        there = {form for form in different if form in data}
        found += [f"{place}: secret {number}, {name}" for number, name, form in wanted if form in there]
    return found


def files(root: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below ``root``: database, its side files, key ring, logs."""
    for path in sorted(root.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(root)), path.read_bytes()


def processes(started: Iterable[Running], *names: str) -> Iterator[tuple[str, bytes]]:
    """``cmdline`` or ``environ`` of those that still run."""
    for one in started:
        if one.process.poll() is None:
            for name in names:
                yield f"{name} of {one.out.stem}", Path(f"/proc/{one.pid}/{name}").read_bytes()
