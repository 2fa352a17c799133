"""Mistakes in the configuration: each with a hint, all together."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: ``what`` is wrong and where, ``hint`` what to do. Never holds a secret."""

    what: str
    hint: str

    def __str__(self) -> str:
        return f"{self.what}\n  hint: {self.hint}"


class ConfigError(Exception):
    """The configuration cannot be used; ``problems`` is everything that was found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class Wrong(Exception):
    """A value cannot be used: ``what`` completes "KEY …", as in "KEY is no number"."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what, self.hint = what, hint
