"""The two requests of a change and nothing else: read the user, write it back with the password, by httpx2.

    python bench/bare_client.py URL CONCURRENCY WORD < ids

Prints the processor seconds that the requests took, the start of the program and its token aside.
"""

import asyncio
import resource
import sys

import httpx2
import uvloop


async def main(url: str, concurrency: int, word: str, ids: list[str]) -> float:
    async with httpx2.AsyncClient(
        trust_env=False, limits=httpx2.Limits(max_connections=100, max_keepalive_connections=100)
    ) as client:
        asked = await client.post(
            f"{url}/oauth/token",
            auth=("simulator", "simulator-secret"),
            data={"grant_type": "client_credentials"},
        )
        headers = {"Authorization": f"Bearer {asked.json()['access_token']}"}
        waiting = iter(ids)

        async def work() -> None:
            for user_id in waiting:
                await change(client, f"{url}/api/v2/scim/v2/users/{user_id}", headers, word)

        before = processor_seconds()
        await asyncio.gather(*(work() for _ in range(concurrency)))
        return processor_seconds() - before


async def change(client: httpx2.AsyncClient, url: str, headers: dict[str, str], word: str) -> None:
    read = await client.get(url, headers=headers)
    user = read.json()
    body = {name: value for name, value in user.items() if name not in ("id", "meta", "groups")}
    body["password"] = f"N3w-{word}-Passw0rd!{user['id']}"
    written = await client.put(url, headers=headers | {"If-Match": read.headers["etag"]}, json=body)
    written.raise_for_status()


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    print(uvloop.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.stdin.read().split())))
