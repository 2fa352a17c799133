"""A configuration of many orgs at one target."""

from pathlib import Path


def write(folder: Path, count: int, target: str, rate: int = 300) -> dict[str, str]:
    """Orgs ``org-0000`` and so on, each with an OAuth client of its own name. Settings that lead there."""
    path = folder / "passferry.toml"
    path.write_text("\n".join(_table(f"org-{number:04}", target, rate) for number in range(count)))
    path.chmod(0o600)
    return {
        "PASSFERRY_CONFIG": str(path),
        "PASSFERRY_STATE_DIR": str(folder / "state"),
        "PASSFERRY_KEY_FILE": str(folder / "keys" / "ring"),
        "PASSFERRY_LOG_FORMAT": "json",
    }


def _table(name: str, target: str, rate: int) -> str:
    return (
        f'[orgs.{name}]\napi_url = "{target}"\nlogin_url = "{target}"\n'
        f'client_id = "{name}"\nclient_secret = "made-up"\nrate = {rate}\n'
    )
