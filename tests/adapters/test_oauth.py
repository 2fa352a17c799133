"""One token for everybody, renewed in time, and no more requests for it than needed."""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import httpx2
import pytest

from passferry.adapters.http_client import http_client
from passferry.adapters.oauth import TokenError, TokenRefused, Tokens, TokenThrottled, TokenUnavailable
from passferry.domain.password import Password
from passferry.simulator import InProcessTransport, Settings, Simulator

SECRET = "Canary-client-secret-51"
T = TypeVar("T")


class MovedClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class Endpoint:
    """A token endpoint that answers as told, the last answer for ever."""

    def __init__(self, *answers: Any, gate: asyncio.Event | None = None) -> None:
        self.answers, self.gate = list(answers), gate
        self.requests: list[httpx2.Request] = []

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        if self.gate is not None:
            await self.gate.wait()
        await asyncio.sleep(0)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx2.Response):
            return httpx2.Response(answer.status_code, headers=answer.headers, content=answer.content)
        return httpx2.Response(
            200, json={"access_token": f"t{len(self.requests)}", "expires_in": 86400} | answer
        )


def refusal(status: int, error: str, text: str = "", **headers: str) -> httpx2.Response:
    """An error of the token endpoint in its documented shape, description doubled."""
    body = {"error": error, "description": text, "error_description": text}
    return httpx2.Response(status, json=body, headers={k.replace("_", "-"): v for k, v in headers.items()})


def tokens_of(endpoint: Endpoint, clock: MovedClock, **more: Any) -> Tokens:
    """The token source under test, over a made-up endpoint."""
    client = http_client(httpx2.MockTransport(endpoint))
    return Tokens(client, "https://login.example", "the-id", Password(SECRET), clock, **more)


def run(body: Callable[[], Awaitable[T]]) -> T:
    """Run ``body`` within a bounded time."""

    async def bounded() -> T:
        async with asyncio.timeout(20):
            return await body()

    return asyncio.run(bounded())


async def failure(tokens: Tokens) -> TokenError:
    """How ``get`` fails."""
    try:
        await tokens.get()
    except TokenError as error:
        return error
    raise AssertionError("there was a token")


def test_the_request_is_the_documented_one() -> None:
    """Client id and secret by Basic, a form with the grant type, and no scope."""
    endpoint = Endpoint({})

    async def body() -> None:
        assert await tokens_of(endpoint, MovedClock()).get() == "t1"

    run(body)
    request = endpoint.requests[0]
    assert (request.method, str(request.url)) == ("POST", "https://login.example/oauth/token")
    assert request.content == b"grant_type=client_credentials"
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    scheme, _, value = request.headers["authorization"].partition(" ")
    assert (scheme, base64.b64decode(value).decode()) == ("Basic", f"the-id:{SECRET}")


def test_a_hundred_first_callers_cost_one_request() -> None:
    """Concurrent callers share one token request, and later ones need none."""
    endpoint = Endpoint({})

    async def body() -> None:
        tokens = tokens_of(endpoint, MovedClock())
        assert set(await asyncio.gather(*(tokens.get() for _ in range(100)))) == {"t1"}
        assert await tokens.get() == tokens.current() == "t1"

    run(body)
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    ("life", "early"), [(60, 6), (300, 30), (1200, 120), (86400, 120), (450 * 86400, 120)]
)
def test_a_token_is_renewed_before_its_end(life: int, early: int) -> None:
    """By two minutes or a tenth of its life, whichever is shorter, and not before."""
    endpoint = Endpoint({"expires_in": life})

    async def body() -> None:
        clock = MovedClock()
        tokens = tokens_of(endpoint, clock)
        await tokens.get()
        clock.time += life - early - 0.01
        assert await tokens.get() == "t1"
        clock.time += 0.02
        assert await tokens.get() == "t2"

    run(body)
    assert len(endpoint.requests) == 2


def test_the_old_token_serves_while_its_renewal_fails() -> None:
    """Until its end the old one is given, with a pause between tries; after its end there is none."""
    endpoint = Endpoint({"expires_in": 600}, httpx2.ConnectError("down"))

    async def body() -> None:
        clock = MovedClock()
        tokens = tokens_of(endpoint, clock)
        await tokens.get()
        clock.time += 550
        assert [await tokens.get() for _ in range(5)] == ["t1"] * 5
        assert len(endpoint.requests) == 2
        clock.time += 49
        assert await tokens.get() == "t1"
        clock.time += 1
        assert tokens.current() is None
        assert isinstance(await failure(tokens), TokenUnavailable)

    run(body)


def test_a_failure_is_shared_and_the_next_call_tries_anew_after_a_pause() -> None:
    """All waiters of one request fail with it; within the pause nobody asks; after it one request is made."""
    endpoint = Endpoint(httpx2.Response(502, html="<html>"), httpx2.Response(502), {})

    async def body() -> None:
        clock = MovedClock()
        tokens = tokens_of(endpoint, clock)
        failures = await asyncio.gather(*(failure(tokens) for _ in range(20)))
        assert {type(each) for each in failures} == {TokenUnavailable}
        assert len({id(each) for each in failures}) == 20
        assert isinstance(await failure(tokens), TokenUnavailable)
        assert len(endpoint.requests) == 1
        clock.time += 1
        await failure(tokens)
        clock.time += 1
        await failure(tokens)
        assert len(endpoint.requests) == 2
        clock.time += 1
        assert await tokens.get() == "t3"

    run(body)


def test_the_pause_between_failures_is_bounded() -> None:
    """However long the endpoint is down, half a minute later it is asked again."""
    endpoint = Endpoint(httpx2.ConnectError("down"))

    async def body() -> None:
        clock = MovedClock()
        tokens = tokens_of(endpoint, clock)
        for _ in range(1200):
            await failure(tokens)
            clock.time += 1

    run(body)
    assert 40 <= len(endpoint.requests) <= 46


def test_a_cancelled_caller_cancels_the_request_for_nobody() -> None:
    """The first caller goes away; the others get the token of the request that it began."""
    opened = asyncio.Event()
    endpoint = Endpoint({}, gate=opened)

    async def body() -> None:
        tokens = tokens_of(endpoint, MovedClock())
        first = asyncio.create_task(tokens.get())
        await asyncio.sleep(0.01)
        second = asyncio.create_task(tokens.get())
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        opened.set()
        assert await second == "t1"

    run(body)
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    ("answer", "life"),
    [
        ({"expires_in": 60}, 60),
        ({"expires_in": 86399}, 86399),
        ({"expires_in": 38880000}, 38880000),
        ({"expires_in": "3600"}, 3600),
        ({"expires_in": 3600.5}, 3600.5),
        ({"expires_in": 10**30}, 38880000),
        ({"expires_in": 5}, 60),
        ({"expires_in": 0}, 300),
        ({"expires_in": -1}, 300),
        ({"expires_in": None}, 300),
        ({"expires_in": True}, 300),
        ({"expires_in": "soon"}, 300),
        ({"expires_in": "nan"}, 300),
        ({"expires_in": int("9" * 4000)}, 300),
        ({"expires_in": [1]}, 300),
        ({"expires_in": 3600, "token_type": "MAC"}, 3600),
        ({"expires_in": 3600, "token_type": "BEARER"}, 3600),
    ],
)
def test_a_lifetime_is_taken_from_expires_in(answer: Mapping[str, Any], life: float) -> None:
    """From a minute to 450 days, by number or text; anything odd counts as five minutes."""

    async def body() -> None:
        clock = MovedClock()
        tokens = tokens_of(Endpoint(answer), clock)
        await tokens.get()
        clock.time += life - 0.01
        assert tokens.current() == "t1"
        clock.time += 0.02
        assert tokens.current() is None

    run(body)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (refusal(400, "invalid_client", "authentication failed"), (TokenRefused, "invalid_client")),
        (refusal(401, "invalid_client", "client not found"), (TokenRefused, "invalid_client")),
        (refusal(400, "invalid_scope"), (TokenRefused, "token.refused")),
        (httpx2.Response(401, json={"code": "ip.not.authorized"}), (TokenRefused, "ip.not.authorized")),
        (refusal(400, "invalid_request", "rate limit exceeded; wait"), (TokenThrottled, 60.0)),
        (
            refusal(400, "invalid_request", "rate limit exceeded; wait", retry_after="7"),
            (TokenThrottled, 7.0),
        ),
        (httpx2.Response(429, headers={"retry-after": "42"}), (TokenThrottled, 42.0)),
        (httpx2.Response(429, html="<html>"), (TokenThrottled, 60.0)),
        (httpx2.Response(400, html="<html>"), (TokenUnavailable, None)),
        (httpx2.Response(302, headers={"location": "https://elsewhere.example/"}), (TokenUnavailable, None)),
        (httpx2.Response(500, json={"error": "invalid_client"}), (TokenUnavailable, None)),
        (httpx2.Response(200, html="<html>"), (TokenUnavailable, None)),
        (httpx2.Response(200), (TokenUnavailable, None)),
        (httpx2.Response(200, json={"access_token": ""}), (TokenUnavailable, None)),
        (httpx2.Response(200, json={"access_token": 5}), (TokenUnavailable, None)),
        (httpx2.Response(200, json={"access_token": "a\r\nb"}), (TokenUnavailable, None)),
        (httpx2.ReadError("reset"), (TokenUnavailable, None)),
        (httpx2.ConnectTimeout("slow"), (TokenUnavailable, None)),
        (RuntimeError("defect"), (TokenUnavailable, None)),
    ],
)
def test_each_failure_is_one_of_three(answer: Any, expected: tuple[type[TokenError], Any]) -> None:
    """Refused with a code of ours, throttled with seconds, or unavailable; a redirect is not followed."""
    endpoint = Endpoint(answer)

    async def body() -> TokenError:
        return await failure(tokens_of(endpoint, MovedClock()))

    error = run(body)
    assert type(error) is expected[0]
    assert getattr(error, "code", getattr(error, "retry_after", None)) == expected[1]
    assert len(endpoint.requests) == 1


def test_a_throttling_endpoint_is_left_alone_for_as_long_as_it_says() -> None:
    """No request before the time is over, and callers are told what is left of it."""
    endpoint = Endpoint(httpx2.Response(429, headers={"retry-after": "42"}), {})

    async def body() -> None:
        clock = MovedClock()
        tokens = tokens_of(endpoint, clock)
        await failure(tokens)
        clock.time += 30
        error = await failure(tokens)
        assert isinstance(error, TokenThrottled)
        assert error.retry_after == 12.0
        clock.time += 12
        assert await tokens.get() == "t2"

    run(body)
    assert len(endpoint.requests) == 2


def test_a_dropped_token_is_replaced_once() -> None:
    """Many who drop the same dead token cost one new one, and a newer token is never dropped for it."""
    endpoint = Endpoint({})

    async def one(tokens: Tokens) -> str:
        tokens.drop("t1")
        return await tokens.get()

    async def body() -> None:
        tokens = tokens_of(endpoint, MovedClock())
        await tokens.get()
        assert set(await asyncio.gather(*(one(tokens) for _ in range(50)))) == {"t2"}
        tokens.drop("t1")
        assert tokens.current() == "t2"

    run(body)
    assert len(endpoint.requests) == 2


def test_every_answer_is_told_with_its_headers() -> None:
    """Status and lower-case headers of each answer reach whoever watches the clocks."""
    told: list[tuple[int, Mapping[str, str]]] = []
    endpoint = Endpoint(httpx2.Response(503, headers={"Date": "Tue, 24 Nov 2026 12:00:00 GMT"}))

    async def body() -> None:
        await failure(tokens_of(endpoint, MovedClock(), on_answer=lambda s, h: told.append((s, h))))

    run(body)
    assert [(status, headers["date"]) for status, headers in told] == [(503, "Tue, 24 Nov 2026 12:00:00 GMT")]


def test_neither_secret_nor_request_is_in_what_is_raised() -> None:
    """Exceptions of the client keep the request; ours keep nothing, not even as a context."""
    basic = base64.b64encode(f"the-id:{SECRET}".encode()).decode()

    async def body() -> None:
        for bad in (
            httpx2.ReadError(f"x {basic} {SECRET}"),
            refusal(400, SECRET, SECRET),
            RuntimeError(SECRET),
        ):
            tokens = tokens_of(Endpoint(bad), MovedClock())
            error = await failure(tokens)
            assert (error.__context__, error.__cause__) == (None, None)
            assert SECRET not in repr((error, vars(error), tokens))
            assert basic not in repr((error, vars(error), tokens))

    run(body)


def test_closing_gives_up_a_request_under_way() -> None:
    """After close no task is left, and who waited is cancelled."""

    async def body() -> None:
        tokens = tokens_of(Endpoint({}, gate=asyncio.Event()), MovedClock())
        waiting = asyncio.create_task(tokens.get())
        await asyncio.sleep(0.01)
        await tokens.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await tokens.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(body)


def test_the_stand_in_gives_a_token_throttles_and_refuses() -> None:
    """Against the simulator: a token, its way of throttling, and a wrong secret."""

    async def body() -> None:
        clock = MovedClock()
        simulator = Simulator(Settings.calm(), clock=clock.now, users=1)
        client = http_client(InProcessTransport(simulator))
        good = Tokens(client, "https://login.example", "simulator", Password("simulator-secret"), clock)
        simulator.next("token_throttled")
        assert isinstance(await failure(good), TokenThrottled)
        clock.time += 3600
        assert len(await good.get()) > 10
        bad = Tokens(client, "https://login.example", "simulator", Password("wrong"), clock)
        error = await failure(bad)
        assert isinstance(error, TokenRefused)
        assert error.code == "invalid_client"
        await client.aclose()

    run(body)


@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_is_forgotten_when_an_operator_says_so(status: int) -> None:
    """Else an hour that the endpoint asked for by mistake would have to be sat out."""

    async def body() -> None:
        clock = MovedClock()
        answer = httpx2.Response(status, headers={"Retry-After": "3600"})
        endpoint = Endpoint(answer, {})
        tokens = tokens_of(endpoint, clock)
        for _ in range(2):
            error = await failure(tokens)
            assert isinstance(error, TokenThrottled | TokenUnavailable)
            assert error.retry_after == 3600.0
        assert len(endpoint.requests) == 1
        tokens.resume()
        assert await tokens.get()

    run(body)


def test_every_failed_request_is_told_and_no_success() -> None:
    """One word a failed request, however many wait for it; a token tells nothing."""
    endpoint = Endpoint(
        refusal(400, "invalid_client"), refusal(429, "x", retry_after="7"), httpx2.ConnectError("down"), {}
    )
    told: list[str] = []

    async def body() -> None:
        clock = MovedClock()
        tokens = tokens_of(endpoint, clock, on_failure=told.append)
        for _ in range(3):
            await asyncio.gather(*(failure(tokens) for _ in range(5)))
            clock.time += 100
        assert await tokens.get()

    run(body)
    assert told == ["refused", "throttled", "unavailable"]


class Turning:
    """A secret that is another from some moment on."""

    def __init__(self, text: str) -> None:
        self.text = text

    def reveal(self) -> str:
        return self.text


def _with_secret(endpoint: Endpoint, clock: MovedClock, secret: Turning) -> Tokens:
    client = http_client(httpx2.MockTransport(endpoint))
    return Tokens(client, "https://login.example", "the-id", secret, clock)


def _secrets(endpoint: Endpoint) -> list[str]:
    sent = [request.headers["authorization"].partition(" ")[2] for request in endpoint.requests]
    return [base64.b64decode(each).decode().removeprefix("the-id:") for each in sent]


def test_a_secret_that_was_replaced_is_used_without_any_wait() -> None:
    """The wait after a refusal is the old secret's, not the new one's."""
    endpoint = Endpoint(refusal(400, "invalid_client"), refusal(401, "invalid_client"), {})

    async def body() -> None:
        clock, secret = MovedClock(), Turning("old")
        tokens = _with_secret(endpoint, clock, secret)
        assert isinstance(await failure(tokens), TokenRefused)
        assert isinstance(await failure(tokens), TokenRefused)
        assert len(endpoint.requests) == 1
        secret.text = "wrong-too"
        assert isinstance(await failure(tokens), TokenRefused)
        secret.text = "new"
        assert await tokens.get() == "t3"

    run(body)
    assert _secrets(endpoint) == ["old", "wrong-too", "new"]


def test_a_secret_that_is_replaced_while_it_is_refused_is_tried_at_once() -> None:
    """Whoever asked gets a token, and no error; a third try is not made."""
    secret = Turning("old")
    endpoint = Endpoint(refusal(400, "invalid_client"), {})

    async def replacing(request: httpx2.Request) -> httpx2.Response:
        answer = await endpoint(request)
        secret.text = f"new-{len(endpoint.requests)}"
        return answer

    async def body() -> None:
        client = http_client(httpx2.MockTransport(replacing))
        tokens = Tokens(client, "https://login.example", "the-id", secret, MovedClock())
        assert await tokens.get() == "t2"

    run(body)
    assert _secrets(endpoint) == ["old", "new-1"]


@pytest.mark.parametrize("answer", [refusal(429, "x", retry_after="30"), httpx2.ConnectError("down")])
def test_another_secret_does_not_shorten_other_waits(answer: Any) -> None:
    """A throttling or unreachable endpoint is left alone, whatever the secret is."""
    endpoint = Endpoint(answer)

    async def body() -> None:
        secret = Turning("old")
        tokens = _with_secret(endpoint, MovedClock(), secret)
        await failure(tokens)
        secret.text = "new"
        await failure(tokens)

    run(body)
    assert len(endpoint.requests) == 1
