"""One phase of training: a student, perhaps a teacher, and a loss that is minimised by Adam."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim import Adam

from r2b.train.data import augmentation, mixup
from r2b.train.data.dataset import DataSet, set_epoch
from r2b.train.evaluate import Accuracy, accuracy, loader, size, to_input
from r2b.train.experiment import PhaseSpec
from r2b.train.layers import set_binarization
from r2b.train.network import Features, Network
from r2b.train.objective import WithFeatures, terms, weighted
from r2b.train.randomness import batches, derive, generator
from r2b.train.recipe import Recipe
from r2b.train.schedule import learning_rate
from r2b.train.state import Row, State

TERMS = ("label", "attention", "logit")
_TOTALS = ("frames", "loss", *TERMS, "hits")
"""What an epoch sums up over its frames."""


@dataclass(frozen=True)
class Progress:
    """Where training stands, for who watches.

    Parameters
    ----------
    phase, epoch, step : int
        Counted from 0; the step has just ended.
    epochs, steps : int
        Epochs of the phase, and steps of each.
    loss : float
        Mean of the epoch so far.
    """

    phase: int
    epoch: int
    step: int
    epochs: int
    steps: int
    loss: float


@dataclass(frozen=True)
class Task:
    """What does not change during a run.

    Parameters
    ----------
    fabric : Fabric
        Device, precision, processes.
    data : DataSet
        What is learned.
    recipe : Recipe
        How long, and how much at a time.
    seed : int
        Of everything random.
    workers : int
        Processes that read frames.
    save_every : int
        Steps between two savings of the state.
    save : callable
        Keeps a state; called in every process, on one of them to write.
    on_step : callable
        Told after each step.
    on_row : callable
        Given the line of each epoch.
    """

    fabric: Fabric
    data: DataSet
    recipe: Recipe
    seed: int
    workers: int = 0
    save_every: int = 200
    save: Callable[[State], None] = lambda state: None
    on_step: Callable[[Progress], None] = lambda progress: None
    on_row: Callable[[Row], None] = lambda row: None


class PhaseRun:
    """A phase under way.

    Parameters
    ----------
    task : Task
        Of the run.
    spec : PhaseSpec
        Of this phase.
    network : Network
        The student, with the parameters of ``state``; is trained.
    teacher : Network or None
        Is frozen and put into eval mode.
    state : State
        Where the phase goes on.
    """

    def __init__(
        self, task: Task, spec: PhaseSpec, network: Network, teacher: Network | None, state: State
    ) -> None:
        self.task, self.spec, self.state = task, spec, state
        self.recipe = task.recipe
        self.network = network
        self.teacher = None if teacher is None else frozen(teacher, task.fabric)
        set_binarization(network, activations=spec.activations, weights=spec.binary_weights)
        factor = self.recipe.rate_factors[spec.stage]
        self.rate = spec.learning_rate * factor
        self.adam = Adam(network.parameters(), lr=self.rate, weight_decay=spec.weight_decay)
        self.model, self.optimizer = task.fabric.setup(WithFeatures(network), self.adam)
        if state.optimizer is not None:
            self.adam.load_state_dict(state.optimizer)
        if state.precision:
            task.fabric.strategy.precision.load_state_dict(state.precision)
        self.augment = augmentation(task.data.name, spec.stage)
        self.started = time.perf_counter() - state.seconds

    def run(self) -> State:
        """Train to the end of the phase; the state returned is that behind its last epoch."""
        self.network.train()
        while self.state.epoch < self.recipe.epochs:
            self._epoch()
        return self.state

    def _epoch(self) -> None:
        state, fabric = self.state, self.task.fabric
        plan = batches(
            self.task.seed,
            state.phase,
            state.epoch,
            size(self.task.data.train),
            self.recipe.batch_size,
            fabric.global_rank,
            fabric.world_size,
        )
        totals = self._totals()
        seed = derive(self.task.seed, "pixels", state.phase)
        set_epoch(self.task.data.train, seed, state.epoch)
        rest = loader(self.task.data.train, plan[state.step :], self.task.workers)
        for step, (frames, labels) in enumerate(rest, state.step):
            self._set_rate(step, len(plan))
            totals += self._step(step, frames, labels)
            self._tell(step, len(plan), totals)
            if step + 1 < len(plan) and (step + 1) % self.task.save_every == 0:
                self._save(replace(state, step=step + 1, totals=self._reduced(totals)))
        self._end_epoch(self._reduced(totals))

    def _tell(self, step: int, steps: int, totals: Tensor) -> None:
        state, loss = self.state, float(totals[1] / totals[0])
        place = (state.phase, state.epoch, step)
        self.task.on_step(Progress(*place, self.recipe.epochs, steps, loss))

    def _totals(self) -> Tensor:
        """The sums of the epoch so far; of several processes the first one has them."""
        known = self.state.totals if self.task.fabric.global_rank == 0 else ()
        device = self.task.fabric.device
        return torch.tensor(known or (0.0,) * len(_TOTALS), dtype=torch.float64, device=device)

    def _reduced(self, totals: Tensor) -> tuple[float, ...]:
        summed = self.task.fabric.all_reduce(totals.clone(), reduce_op="sum")
        return tuple(torch.as_tensor(summed).tolist())

    def _set_rate(self, step: int, steps: int) -> None:
        for group in self.adam.param_groups:
            group["lr"] = self._rate(self.state.epoch + (step + 1) / steps)

    def _rate(self, epoch: float) -> float:
        warm_up = self.spec.warm_up * self.recipe.warm_up_factor
        return learning_rate(self.rate, epoch, self.recipe.milestones, warm_up)

    def _step(self, step: int, frames: Tensor, labels: Tensor) -> Tensor:
        """Take one step; return what it adds to the sums."""
        images, target = self._prepared(step, frames, labels)
        labels = labels.to(images.device)
        self.optimizer.zero_grad()
        student = Features(*self.model(images))
        found = terms(self.spec.losses, student, self._taught(images), target)
        loss = weighted(self.spec.losses, found)
        self.task.fabric.backward(loss)
        self.optimizer.step()
        zero = torch.zeros((), device=loss.device)
        values = [loss, *(found.get(name, zero) for name in TERMS)]
        count = len(frames)
        hits = (student.logits.argmax(dim=1) == labels).sum()
        means = torch.stack([value.detach().to(torch.float64) for value in values])
        ones = torch.tensor([1.0], dtype=torch.float64, device=loss.device)
        return torch.cat([ones * count, means * count, hits.to(torch.float64)[None]])

    def _prepared(self, step: int, frames: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Augment and mix, on the CPU: the same numbers on every device."""
        state, recipe = self.state, self.recipe
        place = (state.phase, state.epoch, step, self.task.fabric.global_rank)
        images = self.augment(to_input(frames), generator(self.task.seed, "augment", *place))
        target = labels
        if recipe.mix_up:
            source = generator(self.task.seed, "mix-up", *place)
            classes = self.task.data.num_classes
            images, target = mixup(images, labels, classes, recipe.mix_up, source)
        device = self.task.fabric.device
        return images.to(device), target.to(device)

    def _taught(self, images: Tensor) -> Features | None:
        if self.teacher is None:
            return None
        with torch.no_grad(), self.task.fabric.autocast():
            return self.teacher.forward_features(images)

    def _end_epoch(self, totals: tuple[float, ...]) -> None:
        state, recipe = self.state, self.recipe
        row = self._row(totals)
        epoch = state.epoch + 1
        if epoch < recipe.epochs and epoch % recipe.validate_every == 0:
            found = accuracy(self.network, self.task.data.validation, self.task.workers)
            row |= validation(found)
        state = replace(state, epoch=epoch, step=0, totals=(), rows=(*state.rows, row))
        if epoch < recipe.epochs:
            self.task.on_row(row)
            self._save(state)
        self.state = self._complete(state)

    def _row(self, totals: tuple[float, ...]) -> Row:
        frames, loss, *terms_, hits = totals
        used = {name: getattr(self.spec.losses, name) > 0 for name in TERMS}
        row: Row = {
            "phase": self.state.phase,
            "stage": self.spec.stage,
            "epoch": self.state.epoch,
            "learning_rate": self.adam.param_groups[0]["lr"],
            "loss": loss / frames,
            "train_top1": 100 * hits / frames,
        }
        means = zip(TERMS, terms_, strict=True)
        return row | {name: value / frames for name, value in means if used[name]}

    def _save(self, state: State) -> None:
        self.task.save(self._complete(state))

    def _complete(self, state: State) -> State:
        return replace(
            state,
            network=self.network.state_dict(),
            optimizer=self.adam.state_dict(),
            precision=self._precision(),
            seconds=time.perf_counter() - self.started,
        )

    def _precision(self) -> dict[str, Any]:
        return dict(self.task.fabric.strategy.precision.state_dict())


def validation(found: Accuracy) -> Row:
    """Return the columns of a look at the validation part."""
    return {"validation_top1": found.top1, "validation_top5": found.top5}


def frozen(teacher: Network, fabric: Fabric) -> Network:
    """Put a teacher on the device, in eval mode, out of reach of gradients."""
    teacher.requires_grad_(False)
    fabric.to_device(teacher.eval())
    return teacher
