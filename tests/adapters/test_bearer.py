"""One request, sent once, and nothing of it in what is raised or kept; over sockets where that matters."""

import asyncio
import json
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import httpx2
import pytest

from passferry.adapters.genesys import MOST_PAGES, GenesysTarget
from passferry.adapters.http_client import MAX_ANSWER, Lost, exchange, http_client
from passferry.adapters.oauth import Tokens
from passferry.adapters.scim_target import ScimTarget
from passferry.domain.answers import Answer
from passferry.domain.outcome import Kind, Outcome
from passferry.domain.paging import PAGE
from passferry.domain.password import Password
from passferry.domain.scim import User, parse_user

CANARY = "Canary-Pass-93!"
PASSWORD, TOKEN = Password(CANARY), Password("Canary-token-94")
USER = parse_user('{"id":"u1","userName":"a@example.com","x":[],"meta":{"version":"W/\\"7\\""}}')
T = TypeVar("T")
Handler = Callable[[httpx2.Request], httpx2.Response]


class OpenGate:
    """Lets everything through."""

    async def slot(self, priority: int) -> None:
        return None

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        return None


class StandingClock:
    def now(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return 0.0


def run(body: Callable[[], Awaitable[T]]) -> T:
    """Run ``body`` within a bounded time."""

    async def bounded() -> T:
        async with asyncio.timeout(30):
            return await body()

    return asyncio.run(bounded())


def scim(url: str, mode: str = "scim-put", transport: httpx2.AsyncBaseTransport | None = None) -> ScimTarget:
    """A plain SCIM target at ``url`` whose requests may take half a second."""
    return ScimTarget(url, TOKEN, mode, http_client(transport), OpenGate(), 0.5)


def mocked(handler: Handler, mode: str = "scim-put") -> ScimTarget:
    """The same over a function that answers."""
    return scim("https://scim.example/v2", mode, httpx2.MockTransport(handler))


class Server:
    """A server of a few bytes: ``reply`` turns a request's head into bytes, or None to close in silence."""

    def __init__(self, reply: Callable[[bytes], bytes | None]) -> None:
        self.reply, self.heads = reply, list[bytes]()
        self.url = ""

    async def __aenter__(self) -> "Server":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        await reader.readexactly(int(line.split(b":")[1]))
                answer = self.reply(head)
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def count(self, method: bytes) -> int:
        """How many requests of ``method`` arrived."""
        return sum(head.startswith(method + b" ") for head in self.heads)


def http(body: str, status: str = "200 OK", extra: str = "") -> bytes:
    """An HTTP/1.1 answer."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{extra}\r\n{body}".encode()


@pytest.mark.parametrize("mode", ["scim-put", "scim-patch"])
def test_a_write_whose_answer_is_lost_is_sent_once_on_a_reused_connection(mode: str) -> None:
    """The server takes the write and closes: nobody sends it again, and the outcome is unknown."""

    async def body() -> None:
        async with Server(lambda head: http(USER.raw) if head.startswith(b"GET") else None) as server:
            target = scim(server.url, mode)
            assert isinstance(await target.read("u1"), User)
            outcome = await target.write(USER, PASSWORD)
            assert (outcome.kind, outcome.code) == (Kind.UNKNOWN, "no.answer")
            assert server.count(b"PUT") + server.count(b"PATCH") == 1
            await target.close()

    run(body)


def test_a_server_that_never_answers_leaves_a_write_in_doubt_after_the_limit() -> None:
    """Silence after the request went out: unknown, and a read is merely unavailable."""

    async def body() -> None:
        async with Server(lambda head: b"") as server:
            target = scim(server.url)
            loop = asyncio.get_running_loop()
            begin = loop.time()
            assert (await target.write(USER, PASSWORD)).kind is Kind.UNKNOWN
            assert loop.time() - begin < 5
            assert await target.read("u1") == Outcome(Kind.UNAVAILABLE, "target.unavailable")
            await target.close()

    run(body)


def test_an_answer_that_trickles_is_cut_off_at_the_limit() -> None:
    """Bytes that keep coming do not extend the time that a request may take."""

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while not writer.is_closing():
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.05)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def body() -> None:
        server = await asyncio.start_server(trickle, "127.0.0.1", 0)
        target = scim(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        assert (await target.write(USER, PASSWORD)).kind is Kind.UNKNOWN
        await target.close()
        server.close()

    run(body)


def test_a_closed_port_means_that_nothing_was_sent() -> None:
    """Connection refused is unavailable for reads and writes alike: there is no doubt."""

    async def body() -> None:
        server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        target = scim(f"http://127.0.0.1:{port}")
        assert await target.write(USER, PASSWORD) == Outcome(Kind.UNAVAILABLE, "target.unreachable")
        assert await target.read("u1") == Outcome(Kind.UNAVAILABLE, "target.unreachable")
        assert await target.find("a@example.com") == Outcome(Kind.UNAVAILABLE, "target.unreachable")
        await target.close()

    run(body)


def test_a_tls_handshake_that_hangs_or_fails_means_that_nothing_was_sent() -> None:
    """Before the connection is made and its certificate verified no byte of the request leaves."""

    async def body() -> None:
        async with Server(lambda head: b"") as silent:
            target = scim(silent.url.replace("http:", "https:"))
            assert await target.write(USER, PASSWORD) == Outcome(Kind.UNAVAILABLE, "target.unreachable")
            await target.close()

        async def no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(no_tls, "127.0.0.1", 0)
        target = scim(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        assert await target.write(USER, PASSWORD) == Outcome(Kind.UNAVAILABLE, "target.unreachable")
        await target.close()
        server.close()

    run(body)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
def test_a_redirect_is_never_followed(status: str) -> None:
    """Neither password nor token goes where an answer points to."""

    async def body() -> None:
        async with Server(lambda head: http(USER.raw)) as elsewhere:
            location = f"Location: {elsewhere.url}/Users/u1\r\n"
            async with Server(lambda head: http("", status, location)) as server:
                target = scim(server.url)
                redirect = Outcome(Kind.UNAVAILABLE, "target.redirect")
                assert await target.read("u1") == redirect
                assert await target.find("a@example.com") == redirect
                assert await target.write(USER, PASSWORD) == redirect
                assert len(server.heads) == 3
                await target.close()
            assert elsewhere.heads == []

    run(body)


def test_the_environment_does_not_redirect_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxy variables are not obeyed, and cookies are not kept."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    async def body() -> None:
        async with Server(lambda head: http(USER.raw, extra="Set-Cookie: a=b; Path=/\r\n")) as server:
            target = scim(server.url)
            for _ in range(2):
                assert isinstance(await target.read("u1"), User)
            assert not any(b"cookie:" in head.lower() for head in server.heads)
            await target.close()

    run(body)


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (httpx2.ConnectError("x"), Kind.UNAVAILABLE, "target.unreachable"),
        (httpx2.ConnectTimeout("x"), Kind.UNAVAILABLE, "target.unreachable"),
        (httpx2.PoolTimeout("x"), Kind.UNAVAILABLE, "target.unreachable"),
        (httpx2.ReadError("x"), Kind.UNKNOWN, "no.answer"),
        (httpx2.WriteError("x"), Kind.UNKNOWN, "no.answer"),
        (httpx2.ReadTimeout("x"), Kind.UNKNOWN, "no.answer"),
        (httpx2.WriteTimeout("x"), Kind.UNKNOWN, "no.answer"),
        (httpx2.RemoteProtocolError("x"), Kind.UNKNOWN, "no.answer"),
        (TimeoutError("x"), Kind.UNKNOWN, "no.answer"),
        (ValueError(CANARY), Kind.UNKNOWN, "no.answer"),
    ],
)
def test_a_write_that_fails_is_in_doubt_unless_nothing_was_sent(
    error: Exception, kind: Kind, code: str
) -> None:
    """Only a connection that was never made proves that the password did not leave."""

    def handler(request: httpx2.Request) -> httpx2.Response:
        raise error

    outcome = run(lambda: mocked(handler).write(USER, PASSWORD))
    assert outcome == Outcome(kind, code)


def test_no_secret_is_in_what_an_adapter_raises_or_shows() -> None:
    """A cancelled write carries no exception of the client along, and nothing shows password or token."""

    async def body() -> None:
        started = asyncio.Event()

        async def hang(request: httpx2.Request) -> httpx2.Response:
            try:
                started.set()
                await asyncio.sleep(60)
            finally:
                raise httpx2.ReadError(f"closing {CANARY}", request=request)

        async def cancelled(request: httpx2.Request) -> httpx2.Response:
            try:
                raise httpx2.ReadError(f"closing {CANARY}", request=request)
            except httpx2.ReadError:
                raise asyncio.CancelledError from None

        for handler in (hang, cancelled):
            target = scim("https://scim.example", transport=httpx2.MockTransport(handler))
            task = asyncio.create_task(as_coroutine(target.write(USER, PASSWORD)))
            if handler is hang:
                await started.wait()
                task.cancel()
            caught: BaseException | None = None
            try:
                assert (await task).kind is Kind.UNKNOWN
            except asyncio.CancelledError as error:
                caught = error
            if caught is not None:
                assert (caught.__context__, caught.__cause__) == (None, None)
                assert CANARY not in "".join(traceback.format_exception(caught))
            shown = repr((target, vars(target), vars(target._bearer), target._users, USER))
            assert CANARY not in shown
            assert TOKEN.reveal() not in shown

    run(body)


async def as_coroutine(awaitable: Awaitable[T]) -> T:
    """What a task can be made of."""
    return await awaitable


@pytest.mark.parametrize(
    ("content", "kind", "code"),
    [
        (b"<html>", Kind.UNAVAILABLE, "target.answer.unusable"),
        (b"", Kind.UNAVAILABLE, "target.answer.unusable"),
        (b"\xff{}", Kind.UNAVAILABLE, "target.answer.unusable"),
        (b'{"id":"u1"}', Kind.UNAVAILABLE, "target.answer.unusable"),
        (b'{"id":"u2","userName":"a@example.com"}', Kind.HELD, "user.changed"),
        (b" " * (MAX_ANSWER + 1), Kind.UNAVAILABLE, "target.answer.unusable"),
    ],
)
def test_a_read_that_gives_no_user_or_another_one_is_told(content: bytes, kind: Kind, code: str) -> None:
    """HTML, nothing, too much or half a user is unusable; another id needs a person."""
    outcome = run(lambda: mocked(lambda request: httpx2.Response(200, content=content)).read("u1"))
    assert outcome == Outcome(kind, code)


def test_ids_are_compared_without_case_and_escaped() -> None:
    """A UUID may be written either way, and no id can leave its place in the path."""
    seen: list[str] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(str(request.url))
        return httpx2.Response(200, content=b'{"id":"a/B?#","userName":"n"}')

    assert isinstance(run(lambda: mocked(handler).read("A/b?#")), User)
    assert seen == ["https://scim.example/v2/Users/A%2Fb%3F%23"]


def listing(*names: tuple[str, str], total: int | None = None) -> httpx2.Response:
    """A ListResponse of users (id, userName)."""
    users = [{"id": key, "userName": name} for key, name in names]
    return httpx2.Response(
        200, json={"totalResults": len(users) if total is None else total, "Resources": users}
    )


def test_a_filter_is_not_taken_at_its_word() -> None:
    """A provider that ignores filters or matches loosely gives nobody but the user of exactly this name."""
    everybody = listing(("1", "ab@example.com"), ("2", "A@Example.com"), ("3", "a@example.com.evil"))
    found = run(lambda: mocked(lambda request: everybody).find("a@example.com"))
    assert isinstance(found, User)
    assert found.id == "2"
    strangers = listing(("1", "ab@example.com"))
    assert run(lambda: mocked(lambda request: strangers).find("a@example.com")) is None


def test_two_users_of_one_name_are_ambiguous() -> None:
    """Two ids block the change; the same id twice is one user."""
    two = listing(("1", "a@example.com"), ("2", "A@example.com"))
    ambiguous = Outcome(Kind.BLOCKED, "user.ambiguous")
    assert run(lambda: mocked(lambda request: two).find("a@example.com")) == ambiguous
    same = listing(("1", "a@example.com"), ("1", "a@example.com"))
    assert isinstance(run(lambda: mocked(lambda request: same).find("a@example.com")), User)


@pytest.mark.parametrize("name", ["a b", 'a"b', "o'brien@example.com", "a(b", "a]b", "a\\b", "a\tb"])
def test_an_odd_name_is_never_put_into_a_filter_without_quotes(name: str) -> None:
    """Whatever the provider answers, such a name is asked for in quotes, escaped as JSON, or not at all."""
    filters: list[str] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        filters.append(request.url.params["filter"])
        return httpx2.Response(400, json={"scimType": "invalidFilter", "detail": "x"})

    outcome = run(lambda: mocked(handler).find(name))
    assert outcome == Outcome(Kind.BLOCKED, "invalidFilter")
    assert filters == [f"userName eq {json.dumps(name)}"]


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (httpx2.Response(404, json={}), Outcome(Kind.UNAVAILABLE, "target.answer.unusable")),
        (httpx2.Response(200, html="<html>"), Outcome(Kind.UNAVAILABLE, "target.answer.unusable")),
        (httpx2.Response(200, json={"Resources": []}), Outcome(Kind.UNAVAILABLE, "target.answer.unusable")),
        (listing(("", "a@example.com")), Outcome(Kind.UNAVAILABLE, "target.answer.unusable")),
        (httpx2.Response(400, html="<html>"), Outcome(Kind.UNAVAILABLE, "target.answer.unusable")),
        (httpx2.Response(403, json={}), Outcome(Kind.ORG_DOWN, "not.authorized")),
        (
            httpx2.Response(429, headers={"retry-after": "9"}),
            Outcome(Kind.THROTTLED, "too.many.requests", None, 9),
        ),
    ],
)
def test_a_lookup_that_fails_never_says_that_there_is_nobody(
    response: httpx2.Response, expected: Outcome
) -> None:
    """Only a list that can be understood shows that a user is missing."""
    assert run(lambda: mocked(lambda request: response).find("a@example.com")) == expected


def test_versions_go_back_as_the_provider_gave_them() -> None:
    """A plain provider's weak ETag comes back weak, Genesys Cloud gets a strong one, none is made up."""
    seen: list[str | None] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.headers.get("if-match"))
        return httpx2.Response(200, json={"access_token": "t", "expires_in": 600})

    async def body() -> None:
        client = http_client(httpx2.MockTransport(handler))
        tokens = Tokens(client, "https://login.example", "id", Password("secret"), StandingClock())
        await tokens.get()
        genesys = GenesysTarget("https://api.example", "scim-put", tokens, client, OpenGate())
        for user in (USER, parse_user('{"id":"u1","userName":"n"}')):
            for target in (genesys, mocked(handler), mocked(handler, "scim-patch")):
                await target.write(user, PASSWORD)

    run(body)
    assert seen == [None, '"7"', 'W/"7"', 'W/"7"', None, None, None]


def test_media_types_are_those_of_the_target() -> None:
    """SCIM providers are spoken to in application/scim+json (RFC 7644 §3.1)."""
    seen: list[tuple[str | None, str | None]] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append((request.headers.get("content-type"), request.headers.get("accept")))
        return httpx2.Response(200, content=USER.raw.encode())

    async def body() -> None:
        await mocked(handler).write(USER, PASSWORD)
        await mocked(handler).read("u1")

    run(body)
    accept = "application/scim+json, application/json;q=0.9"
    assert seen == [("application/scim+json", accept), (None, accept)]


def test_an_endless_list_of_inactive_users_ends() -> None:
    """A target whose list never ends is asked for a bounded number of pages."""
    pages = 0

    def handler(request: httpx2.Request) -> httpx2.Response:
        nonlocal pages
        if request.url.path == "/oauth/token":
            return httpx2.Response(200, json={"access_token": "t", "expires_in": 600})
        pages += 1
        return listing(*((f"{pages}-{each}", f"u{pages}-{each}") for each in range(PAGE)), total=10**8)

    async def body() -> None:
        client = http_client(httpx2.MockTransport(handler))
        tokens = Tokens(client, "https://login.example", "id", Password("secret"), StandingClock())
        await GenesysTarget("https://api.example", "native", tokens, client, OpenGate()).inactive()

    run(body)
    assert pages == MOST_PAGES


def test_a_huge_answer_is_not_read_to_its_end() -> None:
    """Beyond the limit nothing more is read; the status is still known."""

    async def body() -> Answer | Lost:
        client = http_client(
            httpx2.MockTransport(lambda request: httpx2.Response(500, content=b"x" * 9_000_000))
        )
        return await exchange(client, "GET", "https://x.example", headers={}, limit=5.0)

    answer = run(body)
    assert isinstance(answer, Answer)
    assert (answer.status, answer.body, answer.members()) == (500, None, None)


def test_active_users_are_not_listed_as_inactive() -> None:
    """A target that ignores the filter, or lists half a user, makes nobody else inactive."""
    users = [
        {"id": "1", "userName": "A@example.com", "active": False},
        {"id": "2", "userName": "b@example.com", "active": True},
        {"id": "3"},
    ]

    def handler(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/oauth/token":
            return httpx2.Response(200, json={"access_token": "t", "expires_in": 600})
        return httpx2.Response(200, json={"totalResults": 3, "Resources": users})

    async def body() -> Mapping[str, str] | Outcome:
        client = http_client(httpx2.MockTransport(handler))
        tokens = Tokens(client, "https://login.example", "id", Password("secret"), StandingClock())
        return await GenesysTarget("https://api.example", "native", tokens, client, OpenGate()).inactive()

    assert run(body) == {"a@example.com": "1"}
