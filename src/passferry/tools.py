"""What the owner of an org works with."""

from collections.abc import Callable
from dataclasses import dataclass, field

from passferry.domain.outcome import Limits
from passferry.gate import PacedGate
from passferry.notices import Notices
from passferry.ports import Clock, Hasher, Meter, Sealer, Target, Unmetered
from passferry.store_ports import DeliveryStore, MayNotTouch, anybody


@dataclass(frozen=True, slots=True)
class Tools:
    """For one org. ``hasher`` is None where no verifiers are kept; ``fatal`` ends the process."""

    store: DeliveryStore
    target: Target
    gate: PacedGate
    sealer: Sealer
    hasher: Hasher | None
    clock: Clock
    random: Callable[[], float]
    notices: Notices
    limits: Limits
    fatal: Callable[[str], None]
    meter: Meter = field(default_factory=Unmetered)
    dry_run: bool = False
    barred: MayNotTouch = anybody
