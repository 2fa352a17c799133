"""What an org's target answers: hosts, token, permissions, limits, headers, policy, users. Reads only."""

from collections.abc import Iterable
from urllib.parse import quote

import httpx2

from passferry.adapters.http_client import Lost, exchange, http_client
from passferry.adapters.oauth import TokenError, TokenRefused, Tokens, TokenThrottled
from passferry.adapters.reach import NotReached, reach
from passferry.adapters.scim_target import FixedToken
from passferry.config import OrgSettings
from passferry.config.regions import REGIONS, hosts
from passferry.domain import diagnosis
from passferry.domain.answers import Answer, classify_read, http_date
from passferry.domain.diagnosis import Cause, Finding, fail, ok, warn
from passferry.domain.outcome import Kind, Outcome
from passferry.domain.scim import NotScim, User, list_items, parse_user
from passferry.ports import Clock

NAMESPACES = ("platform.api", "scim", "auth.api")
"""Of limits that may concern a password gateway."""

_LET_GO = "to deliver, remove dry_run (GENESYS_DRY_RUN) and start the gateway anew"

_LEAST = "the role can stay as it is: "


async def look_at_org(org: OrgSettings, clock: Clock) -> list[Finding]:
    """See the module. A host that cannot be reached, or throttles, is asked nothing more."""
    genesys = org.target == "genesys"
    base = (org.api_url if genesys else org.base_url) or ""
    addresses = dict.fromkeys(filter(None, (org.login_url, base) if genesys else (base,)))
    findings = [_region(org)] if genesys else []
    if org.dry_run:
        findings.append(warn("dry run", "changes wait: nothing is written to this org", _LET_GO))
    findings += [await _reach(address, org.request_timeout, clock) for address in addresses]
    if any(found.cause is not None for found in findings):
        return findings
    client = http_client()
    try:
        look = _Look(org, client, clock)
        findings += await (look.genesys(base) if genesys else look.plain(base))
    finally:
        await client.aclose()
    return findings


def _region(org: OrgSettings) -> Finding:
    said = f"{org.api_url}, {org.login_url}"
    for region, domain in REGIONS.items():
        known = hosts(domain)
        if (org.api_url, org.login_url) == known:
            return ok("region", f"{region}: {said}")
        if org.api_url == known[0] or org.login_url == known[1]:
            remedy = "set GENESYS_REGION, and neither GENESYS_API_URL nor GENESYS_LOGIN_URL"
            return warn("region", f"one host of {region} and another's: {said}", remedy)
    return ok("region", f"not a known region, as it is set: {said}")


async def _reach(address: str, limit: float, clock: Clock) -> Finding:
    reached = await reach(address, limit)
    if isinstance(reached, NotReached):
        return fail(
            "host", reached.why, reached.remedy, Cause.REFUSED if reached.trust else Cause.UNREACHABLE
        )
    if reached.tls is None:
        return ok("host", f"{address} answers, without TLS, on this machine")
    left = None if reached.expires is None else reached.expires - clock.now()
    if left is not None and left < diagnosis.CERTIFICATE_WARN:
        said = f"the certificate of {address} ends in {left / 86400:.0f} days"
        return warn("host", said, "whoever runs that host must renew it")
    return ok("host", f"{address} answers, {reached.tls}, certificate trusted")


class _Look:
    """One org's questions and answers."""

    def __init__(self, org: OrgSettings, client: httpx2.AsyncClient, clock: Clock) -> None:
        self._org, self._client, self._clock = org, client, clock
        self._token: str = ""
        self._silent = False
        self._differences: list[float] = []
        self._answers: list[Answer] = []

    async def genesys(self, base: str) -> list[Finding]:
        """Everything that Genesys Cloud can be asked."""
        org, api = self._org, base + "/api/v2"
        assert org.login_url and org.client_id and org.client_secret is not None  # noqa: S101, PT018  # configuration saw to it
        tokens = Tokens(
            self._client,
            org.login_url,
            org.client_id,
            org.client_secret,
            self._clock,
            lambda status, headers: self._dated(headers.get("date", "")),
            limit=org.request_timeout,
        )
        token = await self._fetched(tokens)
        if not self._token:
            return [token, diagnosis.clock(self._differences)]
        collection = api + "/scim/v2/users"
        listed = [*await self._identity(api), *await self._users(collection)]
        rest = [*await self._limits(api), *await self._policy(api)]
        headers = [diagnosis.headers(self._answers, org.rate)] if self._answers else []
        return [token, diagnosis.clock(self._differences), *listed, *rest, *headers]

    async def plain(self, base: str) -> list[Finding]:
        """What any RFC 7644 service provider can be asked."""
        assert self._org.token is not None  # noqa: S101  # configuration saw to it
        self._token = await FixedToken(self._org.token).get()
        listed = await self._users(base + "/Users")
        answer = await self._ask(base + "/ServiceProviderConfig")
        if isinstance(answer, Answer):
            listed.append(diagnosis.features(answer, self._org.write))
        elif answer is not None:
            found = diagnosis.failed("features", answer, "read what the target supports")
            listed.append(diagnosis.softened(found, "nothing to do, where writing works"))
        return [diagnosis.clock(self._differences), *listed]

    # --- single questions ------------------------------------------------------------------

    async def _fetched(self, tokens: Tokens) -> Finding:
        try:
            self._token = await tokens.get()
        except TokenRefused as error:
            outcome = Outcome(Kind.ORG_DOWN, error.code)
        except TokenThrottled as error:
            outcome = Outcome(Kind.THROTTLED, "token.throttled", retry_after=error.retry_after)
        except TokenError:
            outcome = Outcome(Kind.UNAVAILABLE, "token.unavailable")
        else:
            return ok("token", f"the OAuth client {diagnosis.shown(self._org.client_id)} gets one")
        return diagnosis.failed("token", outcome, "get an access token")

    async def _identity(self, api: str) -> list[Finding]:
        answer = await self._ask(api + "/tokens/me")
        if answer is None:
            return []
        if isinstance(answer, Answer):
            return [diagnosis.identity(answer, self._org.client_id)]
        found = diagnosis.failed("identity", answer, "read whose the token is")
        if answer.code in ("bad.credentials", "ip.not.authorized"):
            return [found]
        return [diagnosis.softened(found, _LEAST + "whose token it is need not be known")]

    async def _users(self, collection: str) -> list[Finding]:
        answer = await self._ask(f"{collection}?count=0")
        if isinstance(answer, Outcome) and _refused_as_bad(answer):
            answer = await self._ask(f"{collection}?count=1")  # a provider that does not know what 0 means
        if answer is None:
            return []
        if isinstance(answer, Outcome):
            if answer.code == "user.unknown":
                return [diagnosis.no_collection(collection)]
            check = "permissions" if answer.kind is Kind.ORG_DOWN else "users"
            return [diagnosis.failed(check, answer, "list users")]
        found = diagnosis.users(answer)
        if found.level is not diagnosis.Level.OK:
            return [found]
        may = ok("permissions", "users may be listed; whether passwords may be set shows at the first write")
        return [found, *await self._one_user(collection, may)]

    async def _one_user(self, collection: str, may: Finding) -> list[Finding]:
        """Read one user as it is read before a write: only whether that works, and the version, are kept."""
        page = await self._ask(f"{collection}?startIndex=1&count=1")
        user = _first(page) if isinstance(page, Answer) else None
        if user is None:
            return [may]
        answer = await self._ask(f"{collection}/{quote(user.id, safe='')}")
        if isinstance(answer, Outcome):
            return [diagnosis.failed("permissions", answer, "read a user")]
        whole = _parsed(answer) if answer is not None else None
        if answer is None or whole is None:
            return [may]
        may = ok(may.check, may.message.replace("listed", "listed and read"))
        return [may, diagnosis.versions(answer, whole.version, self._org.write)]

    async def _limits(self, api: str) -> list[Finding]:
        stated: dict[str, Answer] = {}
        refused: Outcome | None = None
        for space in NAMESPACES:
            answer = await self._ask(f"{api}/organizations/limits/namespaces/{space}")
            if isinstance(answer, Answer):
                stated[space] = answer
            elif answer is not None:
                refused = answer
        if stated:
            return [diagnosis.limits(stated, self._org.rate)]
        if refused is None:
            return []
        found = diagnosis.failed("limits", refused, "read the org's limits")
        return [diagnosis.softened(found, _LEAST + "limits are learnt from answers")]

    async def _policy(self, api: str) -> list[Finding]:
        answer = await self._ask(api + "/organizations/authentication/settings")
        if answer is None:
            return []
        if isinstance(answer, Answer):
            return [diagnosis.policy(answer, self._org.policy)]
        found = diagnosis.failed("policy", answer, "read the org's password rules")
        remedy = _LEAST + "compare the rules by hand with policy.… of the configuration"
        return [diagnosis.softened(found, remedy)]

    # --- asking ----------------------------------------------------------------------------

    async def _ask(self, url: str) -> Answer | Outcome | None:
        """A 200 answer to a GET, what it came to instead, or None: the target had fallen silent before."""
        if self._silent:
            return None
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Accept": "application/json, application/scim+json",
        }
        limit = self._org.request_timeout
        answer = await exchange(self._client, "GET", url, headers=headers, limit=limit)
        if isinstance(answer, Lost):
            self._silent = True
            return Outcome(Kind.UNAVAILABLE, "target.unavailable" if answer.sent else "target.unreachable")
        self._answers.append(answer)
        self._dated(answer.headers.get("date", ""))
        outcome = classify_read(answer, self._clock.now())
        self._silent = outcome is not None and outcome.kind is Kind.THROTTLED
        return outcome or answer

    def _dated(self, date: str) -> None:
        at = http_date(date)
        if at is not None:
            self._differences.append(self._clock.now() - at)


def _refused_as_bad(outcome: Outcome) -> bool:
    """Whether an answer was a 400 in any form: the query was not understood."""
    blocked = outcome.kind is Kind.BLOCKED and outcome.code != "user.unknown"
    return blocked or outcome.code == "target.answer.unusable"


def _first(page: Answer) -> User | None:
    try:
        items: Iterable[str] = list_items(page.text())[1]
        return next((parse_user(item) for item in items), None)
    except NotScim:
        return None


def _parsed(answer: Answer) -> User | None:
    try:
        return parse_user(answer.text(), answer.headers.get("etag"))
    except NotScim:
        return None
