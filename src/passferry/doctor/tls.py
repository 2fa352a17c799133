"""The certificate of ``serve``: how long it lasts. Whether it can be used was seen with the settings."""

from pathlib import Path

from cryptography import x509

from passferry.domain.diagnosis import Finding, fail, ok, warn

LASTS_WARN = 21 * 86400.0
"""Seconds that it should last at least: what renews certificates does so a month before their end."""


def look_at_certificate(path: Path, now: float) -> Finding:
    """The first certificate in the PEM file at ``path``, which is ours, at ``now`` (epoch seconds)."""
    try:
        ours = x509.load_pem_x509_certificates(path.read_bytes())[0]
    except (OSError, ValueError):  # it was replaced since the settings were read
        return fail("certificate", f"{path} holds no certificate", "run `passferry doctor` again")
    left = ours.not_valid_after_utc.timestamp() - now
    until = f"{ours.not_valid_after_utc:%Y-%m-%d}"
    remedy = "renew it: `serve` takes the new file without a restart"
    if left <= 0:
        return fail("certificate", f"{path} was valid until {until}: no caller trusts it", remedy)
    if left < LASTS_WARN:
        return warn("certificate", f"{path} is valid until {until}, {left / 86400:.0f} days more", remedy)
    return ok("certificate", f"{path} is valid until {until}")
