"""Every setting of every switch that could matter to delivery, and the faults of a bad day."""

from typing import Any

from campaign.world import Plan

MODES = ("scim-put", "scim-patch", "native")

BAD_DAY = {
    "throttled_1": 0.01,
    "throttled_42": 0.005,
    "throttled_181": 0.002,
    "throttled_silent": 0.002,
    "throttled_date": 0.003,
    "unavailable": 0.02,
    "bad_gateway": 0.02,
    "gateway_timeout": 0.02,
    "server_error": 0.01,
    "empty_body": 0.01,
    "empty_success": 0.02,
    "reset_before": 0.03,
    "reset_after": 0.03,
    "lost_answer": 0.03,
    "late_write": 0.02,
    "slow": 0.02,
    "token_dies": 0.02,
    "token_throttled": 0.02,
    "edited_between": 0.02,
}
"""Probabilities a request; several times what the simulator does by default."""

SWITCHES: tuple[dict[str, Any], ...] = (
    {},
    {"stale_if_match": "400"},
    {"stale_if_match": "412"},
    {"if_match": "ignored"},
    {"put_omitted": "kept"},
    {"put_omitted": "username-required"},
    {"scim_refusal": "scim-error"},
    {"password_on_inactive": "becomes-active"},
    {"capital_paths": "refused"},
    {"filter_finds_inactive": True},
    {"filter_values": "quoted"},
    {"filter_values": "unquoted"},
    {"list_users": "reduced"},
    {"large_pages": "refused"},
    {"quoted_version": True},
    {"password_moves_version": False},
    {"invalid_client_status": 401},
    {"unknown_scope": "refused"},
    {"token_type": "Bearer"},
    {"token_lifetime": 300},
    {"token_idle_seconds": 60},
    {"rate_headers": "never"},
    {"rate_headers": "always"},
    {"limits_stated": False},
    {"rate": 100},
    {"rate": 100, "rate_headers": "never"},
    {"window_kind": "sliding"},
    {"rate_per": "client"},
    {"scim_rate": 60},
    {"minimum_age_seconds": 60},
    {"minimum_age_seconds": 60, "too_young_text": "plain"},
    {"minimum_age_seconds": 60, "young_before_reused": False},
    {"gateway_body": "json"},
    {"permission_check": "sent"},
    {"password_history": 0},
    {"length_unit": "utf16"},
    {"non_ascii_letters": False},
    {"expiration_days": 90},
)

NO_PROOF: tuple[dict[str, Any], ...] = (
    {"password_moves_version": False},
    {"scim_refusal": "scim-error"},
)
"""Settings under which a lost answer leaves no proof (docs/design.md has the same table)."""


def leaves_no_proof(switches: dict[str, Any]) -> bool:
    """Whether a change may end in ``outcome.unknown`` under ``switches``."""
    return any(all(switches.get(name) == value for name, value in row.items()) for row in NO_PROOF)


def plan(seed: int, switches: dict[str, Any], mode: str, **more: Any) -> Plan:
    """A bad day under ``switches``; the gateway knows the org's minimum age, as an operator would set it."""
    age = switches.get("minimum_age_seconds")
    return Plan(
        seed, switches=switches, write=mode, faults=more.pop("faults", BAD_DAY), minimum_age=age, **more
    )


def name_of(switches: dict[str, Any]) -> str:
    """A short name for a test."""
    return ",".join(f"{name}={value}" for name, value in switches.items()) or "defaults"
