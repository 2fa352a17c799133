"""Options of the hooks. No error repeats an argument: it could be a password in the wrong place."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field


class Usage(Exception):
    """The command was called wrongly; what is wrong."""


@dataclass(slots=True)
class Options:
    """What was given: names without the dashes, and what follows the options."""

    flags: set[str] = field(default_factory=set)
    values: dict[str, str] = field(default_factory=dict)
    rest: list[str] = field(default_factory=list)
    closed: bool = False  # by ``--``

    def one_of(self, *names: str) -> str:
        """The only one of ``names`` that was given. Raises ``Usage``."""
        given = [name for name in names if name in self.flags]
        if len(given) != 1:
            raise Usage(f"give one of {', '.join(f'--{name}' for name in names)}")
        return given[0]


def options(arguments: Sequence[str], flags: Collection[str], valued: Collection[str] = ()) -> Options:
    """The options at the front of ``arguments``, up to the first argument that is none of ours, or ``--``.

    Raises:
        Usage: a value is missing, or an option is given twice.
    """
    found = Options()
    waiting = list(arguments)
    while waiting and waiting[0].startswith("--"):
        name, equals, value = waiting[0][2:].partition("=")
        if name == "" and not equals:
            waiting.pop(0)
            found.closed = True
            break
        if name in found.flags or name in found.values:
            raise Usage(f"--{name} is given twice")
        if name in flags and not equals:
            found.flags.add(waiting.pop(0)[2:])
        elif name in valued:
            waiting.pop(0)
            if not equals:
                if not waiting:
                    raise Usage(f"--{name} needs a value")
                value = waiting.pop(0)
            found.values[name] = value
        else:
            break
    found.rest = waiting
    return found


def nothing_more(found: Options) -> None:
    """Raises ``Usage`` when something follows the options."""
    if found.rest:
        raise Usage("there is an argument that is not known here")
