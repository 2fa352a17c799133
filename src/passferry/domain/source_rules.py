"""What a source may do, beside what its key allows; and how many changes it sent within an hour."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from passferry.domain.accepting import CLOCK_TOLERANCE

SLOT = 300.0
"""Seconds of the steps in which changes are counted."""
SLOTS = 12
"""Steps that make an hour. The one that has begun is counted as well, so the hour has up to 65 minutes."""


@dataclass(frozen=True, slots=True)
class SourceRules:
    """One source, as it is configured; the defaults are those of a source that is not.

    Attributes:
        user: completes a short name, as in ``{uid}@example.com``; None: the access key's own template.
        orgs: it may write to these of the key's orgs; empty: to all of them.
        rate: changes a second; None: as any source.
        never: users it may not touch, as ``folded`` ids and userNames.
        most_an_hour: with one change more the source is stopped; None: it never is.
        generated: passwords that a provider makes up for new users are taken as theirs.
        believe_clock: its ``changedAt`` counts.
        clock_ahead: seconds by which its ``changedAt`` may lie in the future.
        bulk: its changes give way to those of people.
        scim: what of inbound SCIM it may use: ``none``, ``passwords``, or ``proxy``, which passes everything
            else on where the org does; None: as ``proxy``, for those of whom ``speaks_scim`` is true.
    """

    user: str | None = None
    orgs: tuple[str, ...] = ()
    rate: float | None = None
    never: frozenset[str] = frozenset()
    most_an_hour: int | None = None
    generated: bool = False
    believe_clock: bool = True
    clock_ahead: float = CLOCK_TOLERANCE
    bulk: bool = False
    scim: str | None = None


def spelling(name: str) -> str:
    """What the spellings of a source's name have in common: its form within the name of a variable.

    A variable cannot tell ``hr-portal`` from ``HR.portal``. So nothing does: else what is said of a source in
    one spelling would guard nobody whose key has another.
    """
    return name.upper().replace(".", "_").replace("-", "_")


class SourceTables(Mapping[str, SourceRules]):
    """What is configured of sources: named as it is written there, found by any ``spelling`` of the name."""

    def __init__(self, tables: Mapping[str, SourceRules] | None = None) -> None:
        """``tables`` by their names, no two of which have one spelling."""
        self._names = tuple(tables or ())
        self._found = {spelling(name): rules for name, rules in (tables or {}).items()}

    def __getitem__(self, name: str) -> SourceRules:
        return self._found[spelling(name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def folded(name: str) -> str:
    """What the spellings of a user's id or userName have in common; they are compared in any letter case."""
    return name.casefold()


def names_one(never: frozenset[str], *names: str) -> bool:
    """Whether one of a user's ``names`` (its id, its userName) is among those of ``never``."""
    return bool(never) and any(folded(name) in never for name in names)


def speaks_scim(rules: SourceRules, user: str | None) -> bool:
    """Whether a source may use inbound SCIM, which shows the users of its orgs.

    Unless it is told, one whose short names are completed by a template ``user`` may not: that is a hook or a
    portal, and providers know users by their ids.
    """
    return user is None if rules.scim is None else rules.scim != "none"


def provisions(rules: SourceRules, user: str | None) -> bool:
    """Whether a source may have more than passwords passed on, where the org does; see ``speaks_scim``."""
    return speaks_scim(rules, user) and rules.scim in (None, "proxy")


def within_the_hour(counts: Mapping[int, int], now: float) -> dict[int, int]:
    """What of ``counts``, changes by step, still counts at ``now`` (epoch seconds).

    Steps that lie an hour ahead are no more than a clock that was wrong.
    """
    step = int(now // SLOT)
    return {at: count for at, count in counts.items() if abs(step - at) <= SLOTS}


def one_more(counts: Mapping[int, int], now: float) -> dict[int, int]:
    """``counts`` with a change at ``now``."""
    step = int(now // SLOT)
    return {**counts, step: counts.get(step, 0) + 1}
