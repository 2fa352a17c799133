"""All switches of the stand-in: what Genesys Cloud leaves undocumented, one named setting each.

Settings are frozen; a change while running makes a new value with `Settings.changed`, which reports every
mistake of a change together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Annotated, Any, get_args, get_type_hints

from passferry.simulator import faults
from passferry.simulator.faults import Fault


class StaleIfMatch(StrEnum):
    """Answer to an If-Match that names an older version."""

    CONFLICT_409 = "409"
    INVALID_VERS_400 = "400"
    PRECONDITION_412 = "412"


class PutOmitted(StrEnum):
    """What PUT does to attributes that its body leaves out."""

    CLEARED = "cleared"
    KEPT = "kept"
    USERNAME_REQUIRED = "username-required"


class ScimRefusal(StrEnum):
    """Shape of a refused password on the SCIM calls."""

    ERROR_BODY = "error-body"
    SCIM_ERROR = "scim-error"


class OnInactive(StrEnum):
    """What a password write does to an inactive user's state."""

    STAYS_INACTIVE = "stays-inactive"
    BECOMES_ACTIVE = "becomes-active"


class Accepted(StrEnum):
    """Whether something is taken or refused."""

    ACCEPTED = "accepted"
    REFUSED = "refused"


class RateHeaders(StrEnum):
    """On which answers the inin-ratelimit headers appear."""

    NOT_ON_429 = "not-on-429"
    NEVER = "never"
    ALWAYS = "always"


class WindowKind(StrEnum):
    """How requests are counted over time."""

    FIXED = "fixed"
    SLIDING = "sliding"


class RatePer(StrEnum):
    """Who shares one budget."""

    TOKEN = "token"
    CLIENT = "client"


class TooYoungText(StrEnum):
    """Message of password.too.young."""

    WITH_TIME = "with-time"
    PLAIN = "plain"


class GatewayBody(StrEnum):
    """Body of 502 and 504."""

    HTML = "html"
    JSON = "json"


class Honoured(StrEnum):
    """Whether a header is obeyed."""

    HONOURED = "honoured"
    IGNORED = "ignored"


class ListUsers(StrEnum):
    """Users in a list answer."""

    WHOLE = "whole"
    REDUCED = "reduced"
    WITHOUT_SKILLS = "without-skills"


class FilterValues(StrEnum):
    """Which spelling of a filter value is understood."""

    EITHER = "either"
    QUOTED = "quoted"
    UNQUOTED = "unquoted"


class LengthUnit(StrEnum):
    """What one character of a password is."""

    CODE_POINTS = "code-points"
    UTF16 = "utf16"


class PermissionCheck(StrEnum):
    """Which attributes of a written user need their own permission."""

    CHANGED = "changed"
    SENT = "sent"


@dataclass(frozen=True)
class Settings:
    """Everything that can be set, at start and while running. `why(name)` gives each one's reason."""

    stale_if_match: Annotated[
        StaleIfMatch, "Genesys's own document says 409 in one place and 400 in another; RFC 7644 says 412."
    ] = StaleIfMatch.CONFLICT_409
    if_match: Annotated[Honoured, "Whether If-Match guards PUT, PATCH and DELETE was never observed."] = (
        Honoured.HONOURED
    )
    put_omitted: Annotated[
        PutOmitted, "PUT is called replace, but what becomes of omitted attributes is not described."
    ] = PutOmitted.CLEARED
    scim_refusal: Annotated[
        ScimRefusal, "The shape of a refused password on SCIM calls is not documented."
    ] = ScimRefusal.ERROR_BODY
    password_on_inactive: Annotated[
        OnInactive, "The admin console re-activates on a reset; whether the API does is unknown."
    ] = OnInactive.STAYS_INACTIVE
    sso_only: Annotated[
        Accepted, "`refused`: an organization with Genesys Cloud login disabled refuses passwords with 400."
    ] = Accepted.ACCEPTED
    capital_paths: Annotated[
        Accepted, "Documented paths are lower case; RFC 7644 clients send /Users. `refused` is 404."
    ] = Accepted.ACCEPTED
    filter_finds_inactive: Annotated[
        bool, "Whether `userName eq` and the like find inactive users is unknown."
    ] = False
    filter_values: Annotated[FilterValues, "The published example is unquoted, RFC 7644 wants quotes."] = (
        FilterValues.EITHER
    )
    list_users: Annotated[
        ListUsers,
        "`reduced`: list items leave out roles, externalId, skills and languages; "
        "`without-skills`: skills only, so that a user without any is shown whole.",
    ] = ListUsers.WHOLE
    large_pages: Annotated[
        Accepted, "`refused`: count above 25 without attribute selection answers 429, as the document warns."
    ] = Accepted.ACCEPTED
    page_maximum: Annotated[int, "Hard maximum of `count`; the real one is unknown."] = 100
    quoted_version: Annotated[bool, "Whether the quotes of the ETag are part of meta.version is unknown."] = (
        False
    )
    password_moves_version: Annotated[
        bool, "Whether a write of the password alone moves ETag and meta.version is unknown."
    ] = True
    invalid_client_status: Annotated[
        int, "Status of invalid_client: evidence leans to 400, RFC 6749 says 401."
    ] = 400
    unknown_scope: Annotated[Accepted, "`refused`: a scope in the token request is 400 invalid_scope."] = (
        Accepted.ACCEPTED
    )
    token_type: Annotated[str, "The letter case of token_type is unknown."] = "bearer"
    token_lifetime: Annotated[int, "Seconds; 300 to 172800, SCIM clients up to 38880000."] = 86400
    token_idle_seconds: Annotated[
        int, "Idle timeout of tokens; organizations with HIPAA have 900. 0 is none."
    ] = 0
    disabled_clients: Annotated[
        tuple[str, ...], "OAuth clients that are disabled: no tokens, old ones are dead."
    ] = ()
    rate_headers: Annotated[
        RateHeaders, "Samples show the headers on 200 and 404; the documented 429 has none."
    ] = RateHeaders.NOT_ON_429
    limits_stated: Annotated[
        bool, "False: the limits endpoints name no limit, so a client has only headers and 429 to learn from."
    ] = True
    rate: Annotated[int, "Requests a window and token; documented default 300."] = 300
    window: Annotated[float, "Seconds of the window; short ones make tests of pacing quick."] = 60.0
    window_kind: Annotated[WindowKind, "Fixed or sliding is unknown; a client must survive both."] = (
        WindowKind.FIXED
    )
    rate_per: Annotated[RatePer, "Documented per token; forum users say per client."] = RatePer.TOKEN
    scim_rate: Annotated[
        int, "A lower limit for SCIM calls alone, per client; its real figures are unknown. 0 is none."
    ] = 0
    too_young_text: Annotated[
        TooYoungText, "The official Terraform provider parses a time that the published text lacks."
    ] = TooYoungText.WITH_TIME
    young_before_reused: Annotated[
        bool, "A repeat after a lost answer breaks both rules; which is reported first is unknown."
    ] = True
    gateway_body: Annotated[GatewayBody, "502 and 504 come from the load balancer."] = GatewayBody.HTML
    permission_check: Annotated[
        PermissionCheck, "Whether attributes sent back unchanged need their own permission is unknown."
    ] = PermissionCheck.CHANGED
    missing_permissions: Annotated[
        tuple[str, ...], "Permissions that no client has, e.g. directory:user:setPassword."
    ] = ()
    forbidden_division: Annotated[
        str, "Writes to its users answer 403 missing.division.permission; roles are granted per division."
    ] = ""
    minimum_length: Annotated[int, "Password rule, documented default."] = 8
    minimum_digits: Annotated[int, "Password rule, documented default."] = 1
    minimum_letters: Annotated[int, "Password rule, documented default."] = 0
    minimum_upper: Annotated[int, "Password rule, documented default."] = 1
    minimum_lower: Annotated[int, "Password rule, documented default."] = 1
    minimum_specials: Annotated[int, "Password rule, documented default."] = 1
    minimum_age_seconds: Annotated[int, "How long a password must stand; the default is unknown."] = 0
    expiration_days: Annotated[int, "Reported to clients only; nothing expires here."] = 0
    password_history: Annotated[int, "The last 10 passwords cannot be reused."] = 10
    maximum_length: Annotated[int, "Documented maximum; longer is invalid.password."] = 400
    length_unit: Annotated[LengthUnit, "How characters are counted is unknown."] = LengthUnit.CODE_POINTS
    non_ascii_letters: Annotated[bool, "Whether letters beyond ASCII count as letters is unknown."] = True
    body_maximum: Annotated[int, "Bytes of a request body; over it 413."] = 512_000
    latency: Annotated[float, "Seconds added to every answer."] = 0.0
    slow_seconds: Annotated[float, "Delay of the fault `slow`."] = 2.0
    hang_seconds: Annotated[
        float, "Silence of the faults `lost_answer` and `late_write`, then the line closes."
    ] = 60.0
    late_seconds: Annotated[float, "How long after its arrival a `late_write` is applied."] = 3.0
    faults: Annotated[Mapping[Fault, float], "Probability of each fault, 0 to 1."] = field(
        default_factory=faults.mild
    )

    @classmethod
    def calm(cls, **changes: Any) -> Settings:
        """Settings without any fault; `changes` as for `changed`."""
        return cls(faults=faults.none()).changed(changes)

    def changed(self, changes: Mapping[str, Any]) -> Settings:
        """These settings with some replaced.

        `changes` maps names to values as JSON has them (an enum by its value, `faults` as an object that
        replaces only the probabilities it names). Raises ValueError that lists every mistake.
        """
        values: dict[str, Any] = {}
        mistakes: list[str] = []
        for name, value in changes.items():
            try:
                values[name] = self._converted(name, value)
            except ValueError as error:
                mistakes.append(str(error))
        if mistakes:
            raise ValueError("; ".join(mistakes))
        return dataclasses.replace(self, **values)

    def _converted(self, name: str, value: Any) -> Any:
        if name == "faults":
            return self._rates(value)
        kind = _KINDS.get(name)
        if kind is None:
            raise ValueError(f"there is no setting {name!r}")
        return _convert(name, kind, value)

    def _rates(self, value: Any) -> Mapping[Fault, float]:
        if not isinstance(value, Mapping):
            raise ValueError("faults: an object of names and probabilities is wanted")
        rates = dict(self.faults)
        for name, rate in value.items():
            if name not in set(Fault):
                raise ValueError(f"there is no fault {name!r}")
            if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate <= 1:
                raise ValueError(f"fault {name}: a probability from 0 to 1 is wanted")
            rates[Fault(name)] = float(rate)
        return rates

    def as_json(self) -> dict[str, Any]:
        """All settings as JSON values; `changed` takes the same form back."""
        out = {name: _plain(getattr(self, name)) for name in _KINDS}
        out["faults"] = {fault.value: rate for fault, rate in self.faults.items()}
        return out


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return list(value) if isinstance(value, tuple) else value


def _convert(name: str, kind: Any, value: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(value)
        except ValueError:
            allowed = ", ".join(str(one.value) for one in kind)
            raise ValueError(f"{name}: one of {allowed} is wanted") from None
    if kind is bool and isinstance(value, bool):
        return value
    if kind in (int, float) and not isinstance(value, bool):
        if isinstance(value, int if kind is int else (int, float)) and 0 <= value < 10**12:
            return kind(value)
        raise ValueError(f"{name}: a number of 0 or more is wanted")
    if kind is str and isinstance(value, str):
        return value
    if (
        kind == tuple[str, ...]
        and isinstance(value, (list, tuple))
        and all(isinstance(v, str) for v in value)
    ):
        return tuple(value)
    raise ValueError(f"{name}: a value of the kind {getattr(kind, '__name__', kind)} is wanted")


_HINTS = get_type_hints(Settings, include_extras=True)
_KINDS: dict[str, Any] = {name: get_args(hint)[0] for name, hint in _HINTS.items() if name != "faults"}


def why(name: str) -> str:
    """The reason why a setting exists. Raises KeyError for an unknown name."""
    return str(get_args(_HINTS[name])[1])
