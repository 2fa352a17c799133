"""Running the stand-in as a program: what the command line calls."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterable

from passferry.simulator.inspection import Simulator
from passferry.simulator.oauth import Client
from passferry.simulator.server import serve
from passferry.simulator.settings import Settings


def parse_clients(text: str, separate: bool = False) -> tuple[Client, ...]:
    """Extra OAuth clients: a number (`3` gives simulator-2 to simulator-4) or `NAME:SECRET,NAME:SECRET`.

    With `separate`, each one has an organization with users of its own. Raises ValueError.
    """
    text = text.strip()
    if not text:
        return ()
    if text.isascii() and text.isdigit():
        if int(text) > 100_000:
            raise ValueError("clients: at most 100000")
        pairs = [(f"simulator-{number}", f"simulator-secret-{number}") for number in range(2, int(text) + 2)]
    else:
        split = [part.partition(":") for part in text.split(",")]
        if not all(name and secret for name, _, secret in split):
            # The text is not repeated: it may hold a real secret.
            raise ValueError("clients: a number, or NAME:SECRET pairs with commas between them, is wanted")
        pairs = [(name.strip(), secret) for name, _, secret in split]
    return tuple(Client(name, secret, name if separate else "") for name, secret in pairs)


def settings_text(url: str, client_id: str, client_secret: str) -> str:
    """The environment that makes a client use the stand-in at `url`; one line each."""
    pairs = (
        ("GENESYS_API_URL", url),
        ("GENESYS_LOGIN_URL", url),
        ("GENESYS_CLIENT_ID", client_id),
        ("GENESYS_CLIENT_SECRET", client_secret),
    )
    return "\n".join(f"{name}={value}" for name, value in pairs)


def make(
    *,
    client_id: str = "simulator",
    client_secret: str = "simulator-secret",
    seed: int = 1,
    users: int = 300,
    clients: Iterable[Client] = (),
    rate: int = 300,
    window: float = 60.0,
    latency: float = 0.0,
    calm: bool = False,
) -> Simulator:
    """A stand-in by the options of the command line. Times in seconds. Raises ValueError for a bad value."""
    base = Settings.calm() if calm else Settings()
    settings = base.changed({"rate": rate, "window": window, "latency": latency})
    return Simulator(settings, seed=seed, users=users, clients=(Client(client_id, client_secret), *clients))


def run_simulate(
    *,
    host: str = "127.0.0.1",
    port: int = 8090,
    client_id: str = "simulator",
    client_secret: str = "simulator-secret",
    seed: int = 1,
    users: int = 300,
    clients: Iterable[Client] = (),
    rate: int = 300,
    window: float = 60.0,
    latency: float = 0.0,
    calm: bool = False,
    ready: Callable[[str], None],
) -> None:
    """Serve until SIGINT or SIGTERM. Blocks.

    Args:
        host: a loopback address.
        port: 0 takes a free one.
        client_id: OAuth client, together with `client_secret`.
        client_secret: its secret.
        seed: users, ids and faults follow from it.
        users: how many made-up users.
        clients: more OAuth clients, see `parse_clients`.
        rate: requests a window and token.
        window: its length in seconds.
        latency: seconds added to every answer.
        calm: no faults.
        ready: called once with the base URL when it answers.

    Raises:
        ValueError: a bad option, or a host other than loopback.
        OSError: the port is taken.
    """
    simulator = make(
        client_id=client_id,
        client_secret=client_secret,
        seed=seed,
        users=users,
        clients=clients,
        rate=rate,
        window=window,
        latency=latency,
        calm=calm,
    )
    asyncio.run(_until_signal(simulator, host, port, ready))


async def _until_signal(simulator: Simulator, host: str, port: int, ready: Callable[[str], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with await serve(simulator, host, port) as server:
        ready(server.url)
        await stop.wait()
