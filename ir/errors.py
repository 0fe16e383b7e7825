"""Errors a user can cause, each with what was found, where, and the way out.

Every command catches :class:`UserError`, prints its text as one message and exits with status 2.
Anything else that escapes is a defect of r2b.
"""

from __future__ import annotations

from dataclasses import dataclass


class UserError(Exception):
    """Bad input: the text says what was found, where, what is supported and the way out."""


class CheckpointError(UserError):
    """The model file cannot be used."""


class UnsupportedOpError(UserError):
    """The network holds operations that no pass or target takes; all of them are listed."""


class CalibrationError(UserError):
    """The calibration frames do not fit the network."""


class TrainingError(UserError):
    """An experiment, or the folder of a training run, cannot be used."""


class SharedTrainingError(TrainingError):
    """The same, found by every one of the processes that train together: one of them tells it."""


class PlanError(UserError):
    """The Plan cannot be built: a parameter out of range, or a device too small."""


class OutputError(UserError):
    """The output folder cannot be written."""


class ToolError(UserError):
    """An external tool (C++ compiler, Verilator, Yosys) is missing or failed."""


@dataclass(frozen=True)
class Location:
    """Where an operation stands in the user's model.

    Parameters
    ----------
    module_path : str
        Dotted path of the innermost ``nn.Module``, for example ``layer1.0.conv1``.
    source : str
        ``file:line`` of the statement that made the operation, or an empty string.
    """

    module_path: str = ""
    source: str = ""

    def __str__(self) -> str:
        place = self.module_path or "the model"
        return f"{place} ({self.source})" if self.source else place
