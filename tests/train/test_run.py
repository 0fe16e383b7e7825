"""Runs: what a phase begins with, under whom, and that stopping anywhere changes nothing."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from filelock import FileLock
from lightning_fabric import Fabric

import r2b
from r2b.ir.errors import TrainingError
from r2b.ir.execute import logits
from r2b.train import checkpoint, experiment, files, run, zoo
from r2b.train import data as datasets
from r2b.train.layers import BinaryConv2d
from r2b.train.magnitudes import keep_magnitudes
from r2b.train.randomness import derive
from r2b.train.state import State
from tests.train.data.writers import write_pictures

NAME = "real-to-binary"


class Stop(Exception):
    """Ends a run in the middle."""


def place(how, settings, name=NAME):
    return run.folder(how.root, settings, name)


def parameters(state_dict):
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    return {key: value for key, value in state_dict.items() if not key.endswith(buffers)}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_each_phase_begins_with_the_parameters_of_the_one_before(still, settings, data):
    run.train(NAME, settings, data, still)
    found = [files.read_tensors(place(still, settings) / f"phase-{n}.pt") for n in range(3)]
    arch, config = run.describe(experiment.load(NAME), data, settings.width)
    fresh = zoo.build(arch, config, seed=derive(settings.seed, "parameters")).state_dict()
    for state_dict in found[:2]:
        assert equal(parameters(state_dict), parameters(fresh))
    signs = zoo.build(arch, config)
    signs.load_state_dict(found[1])
    keep_magnitudes(signs)  # once: here weights turn binary
    assert equal(parameters(found[2]), parameters(signs.state_dict()))
    assert not equal(parameters(found[2]), parameters(fresh))


def test_training_changes_every_parameter(how, settings, data):
    run.train("gate", settings, data, how)
    first, second = (
        parameters(files.read_tensors(place(how, settings, "gate") / f"phase-{n}.pt"))
        for n in range(2)
    )
    assert not [key for key in first if torch.equal(first[key], second[key])]


@pytest.fixture
def phases(monkeypatch):
    """The phases that run, with what their teachers were like."""
    seen = []

    class Spy(run.PhaseRun):
        def run(self):
            before = {key: value.clone() for key, value in self.teacher_state().items()}
            state = super().run()
            assert equal(before, self.teacher_state())
            seen.append(self)
            return state

        def teacher_state(self):
            return {} if self.teacher is None else self.teacher.state_dict()

    monkeypatch.setattr(run, "PhaseRun", Spy)
    return seen


def binarization(network):
    found = {
        (part.activations, part.binary_weights)
        for part in network.modules()
        if isinstance(part, BinaryConv2d)
    }
    return found.pop() if found else "real"


def test_teachers_and_students_of_real_to_binary(how, settings, data, phases):
    run.train(NAME, settings, data, how)
    teachers = [phase.teacher for phase in phases]
    students = [binarization(phase.network) for phase in phases]
    assert students == ["real", ("tanh", False), ("sign", False), ("sign", True)]
    assert teachers[0] is None
    assert [binarization(net) for net in teachers[1:]] == ["real", ("tanh", False), ("sign", False)]
    for number, teacher in enumerate(teachers[1:]):
        name, phase = ("full-precision", 0) if number == 0 else (NAME, number - 1)
        kept = files.read_tensors(place(how, settings, name) / f"phase-{phase}.pt")
        assert equal(teacher.state_dict(), kept)
        assert not any(part.training for part in teacher.modules())
        assert not any(value.requires_grad for value in teacher.parameters())


def test_a_teacher_is_shared_by_its_students(how, settings, data, phases):
    run.train("att-trans", settings, data, how)
    run.train("att-trans-hkd", settings, data, how)
    stages = [phase.spec.stage for phase in phases]
    assert len(stages) == 5  # full-precision once, two phases each
    assert place(how, settings, "full-precision").is_dir()


def content(folder):
    """Every file of a run that must not depend on how it went."""
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.suffix in (".pt", ".csv") and path.name != run.STATE
    }


@pytest.fixture
def whole(how, settings, data):
    """The files of an undisturbed run."""
    undisturbed = replace(how, root=how.root.with_name("whole"))
    run.train(NAME, settings, data, undisturbed)
    return content(place(undisturbed, settings))


def train_with_stops(name, settings, data, how) -> int:
    """Stop a run at every fourth step, and go on, until it is over; return how often."""
    steps = stops = 0

    def stop(name, progress):
        nonlocal steps
        steps += 1
        if steps % 4 == 0:
            raise Stop

    while True:
        try:
            run.train(name, settings, data, replace(how, resume=True, on_step=stop))
            return stops
        except Stop:
            stops += 1


def test_pictures_are_cropped_alike_by_a_run_that_stops(how, settings, tmp_path):
    """The crops of folder data depend on the epoch; those for calibration must not."""
    images = write_pictures(tmp_path / "d", ["a", "b"], {"train": 9, "val": 2, "test": 2}, "png")
    spec = f"folder:{images}@16"
    crops = replace(how, recipes={"folder": how.recipes["digits"]})
    settings = replace(settings, data=spec)
    undisturbed = replace(crops, root=how.root.with_name("whole"))
    run.train("gate", settings, datasets.load(spec), undisturbed)
    assert train_with_stops("gate", settings, datasets.load(spec), crops) >= 2
    expected = content(place(undisturbed, settings, "gate"))
    assert content(place(crops, settings, "gate")) == expected
    assert "model.pt" in expected


def test_a_run_that_stops_again_and_again_ends_with_the_same_bytes(how, settings, data, whole):
    # every second step is saved, so that steps are done again; above each one is
    assert train_with_stops(NAME, settings, data, replace(how, save_every=2)) >= 6
    assert content(place(how, settings)) == whole
    assert len(content(place(how, settings))) == 5


def test_metrics_have_one_line_per_epoch(how, settings, data):
    run.train(NAME, settings, data, how)
    lines = (place(how, settings) / "metrics.csv").read_text().splitlines()
    cells = [line.split(",") for line in lines[1:]]
    assert [line[:3] for line in cells] == [
        [str(phase), str(phase), str(epoch)] for phase in range(3) for epoch in range(2)
    ]
    header = lines[0].split(",")
    used = {
        (line[0], name) for line in cells for name, cell in zip(header, line, strict=True) if cell
    }
    assert ("0", "attention") in used
    assert ("2", "logit") in used
    assert ("2", "label") not in used
    assert ("2", "attention") not in used
    assert list((place(how, settings) / "tensorboard").iterdir())


def test_the_metrics_behind_the_last_state_are_dropped(how, settings, data):
    """A process that was killed had written a line whose state was not saved."""
    run.train("gate", settings, data, how)
    folder = place(how, settings, "gate")
    expected = content(folder)
    with (folder / "metrics.csv").open("a") as file:
        file.write("1,2,7,0.1")
    (folder / ".state.pt.0123.tmp").write_bytes(b"half")
    (folder / run.RESULT).unlink()
    run.train("gate", settings, data, replace(how, resume=True))
    assert content(folder).keys() == expected.keys()
    assert not list(folder.glob(".*.tmp"))


def test_the_seed_decides(how, settings, data):
    for seed in (1, 2):
        run.train("full-precision", replace(settings, seed=seed), data, how)
    one, two = (
        files.read_tensors(how.root / f"seed-{seed}" / "full-precision" / "phase-0.pt")
        for seed in (1, 2)
    )
    assert not equal(one, two)


def test_the_global_generator_plays_no_part(how, settings, data, whole):
    torch.manual_seed(99)
    run.train(NAME, settings, data, how)
    assert content(place(how, settings)) == whole


class Untouchable(torch.utils.data.Dataset):
    def __len__(self):
        return 10

    def __getitem__(self, index):
        raise AssertionError("the test part was looked at")


def test_the_test_part_is_not_looked_at_unless_asked(how, settings, data):
    result = run.train("gate", settings, replace(data, test=Untouchable()), how)
    assert "test" not in result
    asked = replace(how, test=True, resume=True)
    result = run.train("gate", settings, data, asked)
    assert result["test"].keys() == result["validation"].keys() == {"stage1", "stage2"}
    # once is enough: a second time the figures are read
    again = run.train("gate", settings, replace(data, test=Untouchable()), asked)
    assert again == result


def test_the_figures_are_those_of_the_model_file(how, settings, data):
    result = run.train(NAME, settings, data, replace(how, test=True))
    network = checkpoint.module(checkpoint.load(place(how, settings) / run.MODEL))
    images = data.test.images.float() / 255
    with torch.no_grad():
        hits = (network(images).argmax(dim=1) == data.test.labels).double().mean()
    assert result["test"]["stage2"][0] == pytest.approx(100 * hits.item())


def test_the_model_file_compiles_bit_by_bit(how, settings, data):
    run.train(NAME, settings, data, how)
    found = checkpoint.load(place(how, settings) / run.MODEL)
    assert found.calibration is not None
    assert found.calibration.shape == (18, 1, 8, 8)
    example = torch.from_numpy(found.calibration).float() / 255
    result = r2b.compile(
        checkpoint.module(found), example, target="numpy", calibration=found.calibration
    )
    pixels = data.test.images.numpy()
    assert np.array_equal(result.reference(pixels), logits(result.program, pixels))


def test_mixed_precision(how, settings, data):
    mixed = replace(how, fabric=Fabric(accelerator="cpu", devices=1, precision="bf16-mixed"))
    result = run.train("att-trans-hkd", replace(settings, precision="bf16-mixed"), data, mixed)
    assert 0 <= result["validation"]["stage2"][0] <= 100
    kept = files.read_tensors(place(how, settings, "att-trans-hkd") / "phase-1.pt")
    assert {value.dtype for value in kept.values()} == {torch.float32, torch.int64}


def refused(text):
    return pytest.raises(TrainingError, match=f"^{re.escape(text)}$")


def test_a_folder_with_a_run_is_refused_without_resume(how, settings, data):
    run.train("gate", settings, data, how)
    before = content(place(how, settings, "gate"))
    text = (
        f"{place(how, settings, 'gate')} holds a run already; go on with it by --resume, or choose "
        "another -o"
    )
    with refused(text):
        run.train("gate", settings, data, how)
    assert content(place(how, settings, "gate")) == before


def test_another_run_is_not_gone_on_with(how, settings, data):
    run.train("gate", settings, data, how)
    other = replace(settings, width=0.25, epochs_scale=2.0)
    text = (
        f"{place(how, settings, 'gate')} holds a run with width 0.125, not 0.25; epochs_scale 1.0, "
        "not 2.0; choose another -o, or go on with its settings"
    )
    with refused(text):
        run.train("gate", other, data, replace(how, resume=True))


def test_a_run_of_another_recipe_is_not_gone_on_with(how, settings, data):
    run.train("gate", settings, data, how)
    other = replace(how, resume=True, recipes={"digits": replace(how.recipes["digits"], epochs=3)})
    text = (
        f"{place(how, settings, 'gate')} holds a run with another recipe than this version of r2b; "
        "choose another -o, or go on with its settings"
    )
    with refused(text):
        run.train("gate", settings, data, other)


def test_one_process_per_run(how, settings, data):
    folder = place(how, settings, "gate")
    folder.mkdir(parents=True)
    with (
        FileLock(folder / run.LOCK),
        refused(f"another process is training in {folder}; wait for it"),
    ):
        run.train("gate", settings, data, how)


def test_a_broken_state_is_named(how, settings, data):
    run.train("gate", settings, data, how)
    folder = place(how, settings, "gate")
    (folder / run.RESULT).unlink()
    (folder / run.STATE).write_bytes(b"PK")
    with pytest.raises(
        TrainingError, match=rf"^{re.escape(str(folder / run.STATE))} cannot be read: "
    ):
        run.train("gate", settings, data, replace(how, resume=True))


def test_a_state_is_read_as_it_was_written(tmp_path):
    state = State(
        {"w": torch.ones(2)}, phase=1, epoch=2, step=3, totals=(1.0,), rows=({"epoch": 0},)
    )
    state.save(tmp_path / "s.pt")
    found = State.load(tmp_path / "s.pt")
    assert equal(found.network, state.network)
    assert replace(found, network={}) == replace(state, network={})


def test_nothing_half_written_is_left(tmp_path, monkeypatch):
    files.write(tmp_path / "x", b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    text = f"{tmp_path / 'x'} cannot be written: No space left on device; make room, "
    with refused(text + "and go on with --resume"):
        files.write(tmp_path / "x", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_bytes() == b"old"


def test_results_are_plain_json(how, settings, data):
    result = run.train("full-precision", settings, data, how)
    text = (place(how, settings, "full-precision") / run.RESULT).read_text()
    assert json.loads(text) == result
    assert result.keys() == {"experiment", "seed", "seconds", "validation"}
