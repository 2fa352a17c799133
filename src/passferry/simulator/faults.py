"""Every way in which the stand-in misbehaves: its name, where it may strike, how often, and why.

The defaults are mild and everything in them heals by itself, as on a real network. Faults that need a
person or that last (a user who vanishes, an address that is not allowed) are off until asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from types import MappingProxyType


class Fault(StrEnum):
    """A named misbehaviour."""

    THROTTLED_1 = "throttled_1"
    THROTTLED_42 = "throttled_42"
    THROTTLED_181 = "throttled_181"
    THROTTLED_SILENT = "throttled_silent"
    THROTTLED_DATE = "throttled_date"
    UNAVAILABLE = "unavailable"
    BAD_GATEWAY = "bad_gateway"
    GATEWAY_TIMEOUT = "gateway_timeout"
    SERVER_ERROR = "server_error"
    ERROR_WITHOUT_CODE = "error_without_code"
    EMPTY_BODY = "empty_body"
    EMPTY_SUCCESS = "empty_success"
    RESET_BEFORE = "reset_before"
    RESET_AFTER = "reset_after"
    LOST_ANSWER = "lost_answer"
    LATE_WRITE = "late_write"
    SLOW = "slow"
    TOKEN_DIES = "token_dies"
    TOKEN_THROTTLED = "token_throttled"
    VANISHED = "vanished"
    EDITED_BETWEEN = "edited_between"
    IP_NOT_AUTHORIZED = "ip_not_authorized"


class Scope(StrEnum):
    """Which requests a fault may strike."""

    TOKEN = "token endpoint"
    API = "API"
    WRITE = "writes to a user"
    ANY = "everything"


@dataclass(frozen=True, slots=True)
class FaultInfo:
    """Where a fault strikes, how often by default (0 to 1), and why it exists."""

    scope: Scope
    default: float
    why: str


FAULTS: Mapping[Fault, FaultInfo] = MappingProxyType(
    {
        Fault.THROTTLED_1: FaultInfo(
            Scope.API, 0.005, "429 with Retry-After: 1; internal limits below the stated one."
        ),
        Fault.THROTTLED_42: FaultInfo(Scope.API, 0.0, "429 with Retry-After: 42, the documented sample."),
        Fault.THROTTLED_181: FaultInfo(
            Scope.API, 0.0, "429 with Retry-After: 181; official clients give up above 180 seconds."
        ),
        Fault.THROTTLED_SILENT: FaultInfo(
            Scope.API, 0.0, "429 without Retry-After, as before November 2021."
        ),
        Fault.THROTTLED_DATE: FaultInfo(
            Scope.API,
            0.0,
            "429 whose Retry-After is an HTTP date 5 seconds ahead, the other form of RFC 9110.",
        ),
        Fault.UNAVAILABLE: FaultInfo(Scope.API, 0.003, "503 with Retry-After: 2; overload or maintenance."),
        Fault.BAD_GATEWAY: FaultInfo(
            Scope.ANY, 0.002, "502 of a load balancer, HTML by default, before the write."
        ),
        Fault.GATEWAY_TIMEOUT: FaultInfo(
            Scope.API, 0.001, "504 after the write was applied: the hardest of the 5xx to get right."
        ),
        Fault.SERVER_ERROR: FaultInfo(Scope.API, 0.001, "500 internal.server.error, before the write."),
        Fault.ERROR_WITHOUT_CODE: FaultInfo(
            Scope.API, 0.0, "400 whose ErrorBody has no code: every field of it may be absent."
        ),
        Fault.EMPTY_BODY: FaultInfo(Scope.API, 0.001, "500 with no body at all, as proxies send."),
        Fault.EMPTY_SUCCESS: FaultInfo(
            Scope.WRITE,
            0.001,
            "200 without a body on a write that was applied; a client may not need the body.",
        ),
        Fault.RESET_BEFORE: FaultInfo(
            Scope.ANY, 0.003, "Connection reset after the body was read, nothing applied."
        ),
        Fault.RESET_AFTER: FaultInfo(
            Scope.WRITE,
            0.002,
            "Connection reset after the write was applied; looks just like the one before it.",
        ),
        Fault.LOST_ANSWER: FaultInfo(
            Scope.WRITE,
            0.001,
            "Write applied, then silence for `hang_seconds`; a retry meets password.reused.",
        ),
        Fault.LATE_WRITE: FaultInfo(
            Scope.WRITE,
            0.0,
            "Silence, and the write is applied `late_seconds` later, perhaps after the client has given up.",
        ),
        Fault.SLOW: FaultInfo(
            Scope.ANY, 0.01, "Answer after `slow_seconds`; the write is applied on arrival."
        ),
        Fault.TOKEN_DIES: FaultInfo(
            Scope.API,
            0.001,
            "The token is revoked before expires_in (401); idle timeouts and administrators do this.",
        ),
        Fault.TOKEN_THROTTLED: FaultInfo(
            Scope.TOKEN,
            0.02,
            "400 invalid_request `rate limit exceeded; ...`, how the token endpoint throttles.",
        ),
        Fault.VANISHED: FaultInfo(
            Scope.WRITE, 0.0, "404 for one write: the user was deleted between look-up and write."
        ),
        Fault.EDITED_BETWEEN: FaultInfo(
            Scope.WRITE,
            0.002,
            "Somebody else's edit moves the version just before the write, so If-Match fails.",
        ),
        Fault.IP_NOT_AUTHORIZED: FaultInfo(
            Scope.API,
            0.0,
            "401 ip.not.authorized: the organization's address list; a new token does not help.",
        ),
    }
)


def mild() -> Mapping[Fault, float]:
    """The default probability of every fault."""
    return MappingProxyType({fault: info.default for fault, info in FAULTS.items()})


def none() -> Mapping[Fault, float]:
    """No fault at all."""
    return MappingProxyType(dict.fromkeys(FAULTS, 0.0))


@dataclass(frozen=True, slots=True)
class Planned:
    """A one-shot fault that waits for the next request it fits.

    `method` is an HTTP method or `*`; `path` is a shell pattern matched against the path, where a pattern
    without a wildcard also fits when it is only a part of the path.
    """

    fault: Fault
    method: str = "*"
    path: str = "*"

    def fits(self, method: str, path: str, scopes: frozenset[Scope]) -> bool:
        """Whether this fault strikes that request."""
        if FAULTS[self.fault].scope not in scopes or self.method not in ("*", method):
            return False
        return fnmatchcase(path, self.path) or ("*" not in self.path and self.path in path)


def choose(rates: Mapping[Fault, float], scopes: frozenset[Scope], draw: float) -> Fault | None:
    """The fault that a random number in [0, 1) picks among those that may strike, or None."""
    edge = 0.0
    for fault, info in FAULTS.items():
        rate = rates.get(fault, 0.0)
        if rate > 0.0 and info.scope in scopes:
            edge += rate
            if draw < edge:
                return fault
    return None
