"""Where a training run stands: all that is needed to go on with the same numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from r2b.train import files

Row = dict[str, float | int | None]
"""A line of the metrics."""


@dataclass(frozen=True)
class State:
    """Counters, parameters and what was measured so far.

    The generators of random numbers are not here: they have no state, see
    :mod:`r2b.train.randomness`; nor has the learning rate, see :mod:`r2b.train.schedule`.

    Parameters
    ----------
    network : dict
        ``state_dict`` of the student.
    optimizer : dict or None
        ``state_dict`` of the optimizer; None at the beginning of a phase.
    precision : dict
        ``state_dict`` of the loss scaling of mixed precision.
    phase, epoch, step : int
        What comes next: phase of the experiment, epoch of the phase, step of the epoch.
    totals : tuple of float
        Sums over the epoch so far.
    rows : list of Row
        The metrics of all epochs that are over.
    seconds : float
        Time spent in training.
    """

    network: dict[str, Tensor]
    optimizer: dict[str, Any] | None = None
    precision: dict[str, Any] = field(default_factory=dict)
    phase: int = 0
    epoch: int = 0
    step: int = 0
    totals: tuple[float, ...] = ()
    rows: tuple[Row, ...] = ()
    seconds: float = 0.0

    def save(self, path: Path) -> None:
        """Write the state atomically."""
        # asdict would copy the tensors
        content = {name: getattr(self, name) for name in self.__dataclass_fields__}
        files.write_tensors(path, content)

    @classmethod
    def load(cls, path: Path) -> State:
        """Read a state."""
        return cls(**files.read_tensors(path))

    def after_phase(self, network: dict[str, Tensor]) -> State:
        """Return the state at the beginning of the next phase."""
        return State(network, phase=self.phase + 1, rows=self.rows, seconds=self.seconds)
