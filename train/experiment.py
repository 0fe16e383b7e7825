"""The paper's experiments: one TOML file each, checked on reading.

An experiment says which network is trained, and in which phases: under which teacher, with which
losses, from which learning rate. What depends on the data (epochs, batch size, augmentation) stands
in :mod:`r2b.train.recipe`.
"""

from __future__ import annotations

import json
import tomllib
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from r2b.ir.errors import TrainingError
from r2b.train.options import Operands
from r2b.train.ste import Binarization

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Accuracy = Annotated[float, Field(ge=0, le=100)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Losses(_Frozen):
    """Weights of the losses; 0 leaves one out.

    Parameters
    ----------
    label : float
        Cross entropy with the labels.
    attention : float
        Equation 2.
    logit : float
        Logit matching.
    temperature : float
        Of the logit matching.
    transfer : "blocks" or "ends"
        Transfer points of equation 2: the end of every block, or of every group, which is what
        networks of different depths have in common.
    """

    label: Weight = 1.0
    attention: Weight = 0.0
    logit: Weight = 0.0
    temperature: Annotated[float, Field(gt=0)] = 1.0
    transfer: Literal["blocks", "ends"] = "blocks"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.label + self.attention + self.logit:
            raise ValueError("a phase needs a loss whose weight is above 0")
        return self

    @property
    def need_teacher(self) -> bool:
        """Whether one of the losses compares with a teacher."""
        return self.attention + self.logit > 0


class PhaseSpec(_Frozen):
    """One phase of an experiment.

    Parameters
    ----------
    stage : 0, 1 or 2
        The paper's stage: real student with tanh, binary activations, all binary. A real network
        is trained with the rules of stage 1.
    activations : "off", "tanh" or "sign"
        What is done to the operands of the binary convolutions.
    binary_weights : bool
        Whether their weights are binarised.
    teacher : str or None
        An experiment, or ``"previous"``: this experiment's phase before.
    learning_rate : float
        Of Adam at the start.
    weight_decay : float
        Of Adam.
    warm_up : int
        Epochs in which the learning rate rises to its start, on the paper's schedules.
    losses : Losses
        What is minimised.
    """

    stage: Literal[0, 1, 2]
    activations: Binarization
    binary_weights: bool
    teacher: str | None = None
    learning_rate: Annotated[float, Field(gt=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0, lt=1)]
    warm_up: Annotated[int, Field(ge=0)] = 0
    losses: Losses = Losses()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.losses.need_teacher != (self.teacher is not None):
            raise ValueError("a phase has a teacher if, and only if, a loss compares with it")
        return self


class Figures(_Frozen):
    """What Table 3 says, percent: top-1 and top-5 behind stages 1 and 2.

    Parameters
    ----------
    stage1, stage2 : tuple of float, or None
        A real network has no stage 2.
    """

    stage1: tuple[Accuracy, Accuracy]
    stage2: tuple[Accuracy, Accuracy] | None = None


class NetworkSpec(_Frozen):
    """Which network of the zoo is trained.

    Parameters
    ----------
    arch : str
        A name in :data:`r2b.train.zoo.CONFIGURATIONS`.
    downsample : "real" or "binary"
        Of its shortcuts.
    """

    arch: str
    downsample: Operands = "real"


class Experiment(_Frozen):
    """A row of Table 3.

    Parameters
    ----------
    name : str
        Of the file and of the command.
    title : str
        As Table 3 prints it.
    summary : str
        One line for ``--list``.
    network : NetworkSpec
        What is trained.
    phases : tuple of PhaseSpec
        In this order; each is initialised from the one before.
    paper : Figures or None
        Table 3's own figures, CIFAR-100; the teacher of a teacher has none.
    """

    name: str
    title: str
    summary: str
    network: NetworkSpec
    phases: tuple[PhaseSpec, ...]
    paper: Figures | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.phases:
            raise ValueError("an experiment needs a phase")
        if self.phases[0].teacher == "previous":
            raise ValueError("the first phase has no previous one as its teacher")
        return self

    def turns_binary(self, number: int) -> bool:
        """Whether weights are binary in a phase, and were real in the one before it."""
        before = self.phases[max(0, number - 1)]
        return self.phases[number].binary_weights and not before.binary_weights

    @property
    def teachers(self) -> tuple[str, ...]:
        """The experiments that come before this one."""
        names = [phase.teacher for phase in self.phases]
        return tuple(dict.fromkeys(name for name in names if name and name != "previous"))


def names() -> tuple[str, ...]:
    """Return the names of all experiments, sorted."""
    return tuple(sorted(path.name[:-5] for path in _folder().iterdir() if _is_toml(path.name)))


def _is_toml(name: str) -> bool:
    return name.endswith(".toml")


def _folder() -> Traversable:
    return resources.files("r2b.train").joinpath("experiments")


@cache
def load(name: str) -> Experiment:
    """Read the experiment ``name``.

    Raises
    ------
    TrainingError
        There is none, or its file is wrong.
    """
    if name not in names():
        raise TrainingError(f"there is no experiment {name!r}; known are: {', '.join(names())}")
    return parse(name, _folder().joinpath(f"{name}.toml").read_text(encoding="utf-8"))


def parse(name: str, text: str) -> Experiment:
    """Check the text of an experiment's file.

    Raises
    ------
    TrainingError
        It is no TOML, or not an experiment; every mistake is named.
    """
    try:
        return Experiment.model_validate_json(_as_json(name, text))
    except tomllib.TOMLDecodeError as error:
        raise TrainingError(f"experiment {name}: the file is no TOML: {error}") from error
    except ValidationError as error:
        wrong = "; ".join(_brief(found["loc"], found["msg"]) for found in error.errors())
        raise TrainingError(f"experiment {name}: {wrong}") from error


def _as_json(name: str, text: str) -> str:
    # JSON, because strict mode takes its lists for tuples and nothing else for anything else
    return json.dumps({"name": name, **tomllib.loads(text)})


def _brief(place: tuple[int | str, ...], message: str) -> str:
    where = ".".join(map(str, place)) or "the whole"
    return f"{where}: {message}"
