"""What `serve` does every minute."""

import asyncio
from types import SimpleNamespace
from typing import Any

from campaign.virtual_time import run
from passferry.domain.audit import Head
from passferry.entrypoints.serve import HEADS_EVERY, _keep_house
from passferry.store_ports import StoreBusy


def test_a_minute_without_the_store_does_not_end_housekeeping() -> None:
    """A locked database or a full disk passes: the next minute looks, prunes and empties the log again."""
    emptied, kept = list[float](), list[float]()
    troubles: list[Exception] = [StoreBusy("locked"), OSError("disk")]

    async def heads() -> dict[str, Head]:
        if troubles:
            raise troubles.pop()
        return {}

    async def checkpoint() -> None:
        emptied.append(asyncio.get_running_loop().time())

    stores = SimpleNamespace(
        audit=SimpleNamespace(heads=heads), database=SimpleNamespace(checkpoint=checkpoint)
    )

    async def keep_house() -> None:
        kept.append(asyncio.get_running_loop().time())

    gateway: Any = SimpleNamespace(stores=stores, unready=list, keep_house=keep_house)

    async def body() -> None:
        task = asyncio.create_task(_keep_house(gateway))
        await asyncio.sleep(3.5 * HEADS_EVERY)
        task.cancel()

    run(body())
    assert emptied == kept == [2 * HEADS_EVERY, 3 * HEADS_EVERY]
