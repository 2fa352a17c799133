"""Made-up users, the same for the same seed: full profiles with the odd things that real ones have."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from typing import Any

from passferry.simulator.directory import CORE, ENTERPRISE, GENESYS, SCIM_AUTHORITY, Directory, User
from passferry.simulator.exact_json import Number

_NAMESPACE = uuid.UUID("6f1c9a5e-3d57-4c0b-9f63-8a2d1b7e4c90")
_GIVEN = (
    "Zoë",
    "José",
    "Maja",
    "Søren",
    "Łukasz",
    "Amélie",
    "Jürgen",
    "Aoife",
    "Dvořák",
    "Nguyễn",
    "Anna",
    "Omar",
    "Yuki",
)
_FAMILY = (
    "Müller",
    "O'Neill",
    "García",
    "Ångström",
    "Kowalska",
    "Smith",
    "Çelik",
    "Østergaard",
    "東",
    "Иванова",
    "Silva",
)
_DIVISIONS = ("Home", "Home", "Home", "Sales", "Service")
_DEPARTMENTS = ("Support", "Billing", "Back office", "Quality")
_TITLES = ("Agent", "Senior agent", "Team lead", "Trainer")
_SKILLS = ("Billing", "Returns", "Networks", "Complaints", "Chat")
_LANGUAGES = ("English", "Deutsch", "Français", "Español", "Polski")
# Both spellings of whole numbers are in use; a client must give each back as it came.
_LEVELS: tuple[int | Number, ...] = (5, Number("5.0"), 4, Number("3.5"), Number("0.0"), 1)


def directory(seed: int, users: int, start: float, org: str = "") -> Directory:
    """An organization of `users` made-up users and two groups, created at `start` (epoch seconds)."""
    rng = random.Random(f"{seed}/{org}")
    made = list(_users(rng, f"{seed}/{org}", users, start))
    return Directory(iter(made), _groups(f"{seed}/{org}", made, start))


def _id(space: str, what: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, f"{space}/{what}"))


def _users(rng: random.Random, space: str, count: int, start: float) -> Iterator[User]:
    for number in range(1, count + 1):
        # The first users are active, so that examples in documents work whatever the seed.
        active = number <= 10 or rng.random() >= 0.04
        profile = _profile(rng, space, number, active)
        yield User(
            _id(space, f"user {number}"), profile, rng.randint(1, 60), start - rng.randint(0, 400 * 86400)
        )


def _profile(rng: random.Random, space: str, number: int, active: bool) -> dict[str, Any]:
    name = f"agent{number:03d}@example.com"
    profile: dict[str, Any] = {
        "schemas": [CORE, ENTERPRISE, GENESYS],
        "active": active,
        "userName": name,
        "displayName": f"{rng.choice(_GIVEN)} {rng.choice(_FAMILY)}",
        "title": rng.choice(_TITLES),
        "phoneNumbers": _phones(rng, number),
        "emails": [
            {"value": name, "type": "other", "primary": True},
            {"value": f"a{number}@work.example.com", "type": "work", "primary": False},
        ],
        "roles": [{"value": "employee"}] + ([{"value": "Communicate - User"}] if number % 3 else []),
        "externalId": f"hr-{number:05d}",
        ENTERPRISE: _enterprise(rng, space, number),
        GENESYS: _genesys(rng, space, number),
    }
    if number % 5 == 0:
        profile["urn:example:params:scim:schemas:extension:hr:2.0:User"] = {
            "badge": 90071992547409931234 + number,
            "quota": Number("0.10"),
            "tags": [],
        }
    return profile


def _phones(rng: random.Random, number: int) -> list[dict[str, Any]]:
    if number % 4 == 0:
        return []
    phones = [{"value": f"+1317555{number % 10000:04d}", "type": "work", "primary": True}]
    if rng.random() < 0.3:
        phones.append(
            {"value": f"tel:+1317555{number % 10000:04d};ext={number}", "type": "work2", "primary": False}
        )
    return phones


def _enterprise(rng: random.Random, space: str, number: int) -> dict[str, Any]:
    extension: dict[str, Any] = {
        "division": rng.choice(_DIVISIONS),
        "department": rng.choice(_DEPARTMENTS),
        "employeeNumber": f"{10000 + number}",
        "dateHire": f"20{rng.randint(10, 25)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}",
    }
    if number > 1:
        extension["manager"] = {"value": _id(space, "user 1")}
    return extension


def _genesys(rng: random.Random, space: str, number: int) -> dict[str, Any]:
    skills = rng.sample(_SKILLS, rng.randint(0, 3))
    languages = rng.sample(_LANGUAGES, rng.randint(1, 2))
    return {
        "routingSkills": [{"name": skill, "proficiency": rng.choice(_LEVELS)} for skill in skills],
        "routingLanguages": [
            {"name": language, "proficiency": rng.choice(_LEVELS)} for language in languages
        ],
        "externalIds": [
            {"authority": f"{SCIM_AUTHORITY}:simulator", "value": f"hr-{number:05d}"},
            {"authority": "https://hr.example.com/people", "value": f"P{number}"},
        ],
    }


def _groups(space: str, users: list[User], start: float) -> list[dict[str, Any]]:
    groups = []
    for name, members in (("Everybody", users), ("Team leads", users[::10])):
        group_id = _id(space, f"group {name}")
        for user in members:
            user.groups.append({"type": "Group", "value": group_id})
        groups.append(
            {
                "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"],
                "id": group_id,
                "displayName": name,
                "members": [{"type": "User", "value": user.id} for user in members],
                "meta": {"resourceType": "Group", "version": "1"},
            }
        )
    return groups
