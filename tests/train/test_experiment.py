"""The experiments' files against a table of what the paper says."""

import re

import pytest

from r2b.ir.errors import TrainingError
from r2b.train import experiment
from r2b.train.table3 import METHODS, ROWS, SUFFIX

# Table 3: top-1 and top-5 behind stages 1 and 2; "**" marks real downsample layers.
TABLE3 = {
    "Strong Baseline": ((69.31, 88.70), (66.32, 88.62)),
    "SB + Att Trans": ((72.18, 90.39), (70.31, 90.87)),
    "SB + Att Trans + HKD": ((73.05, 91.23), (71.07, 90.94)),
    "SB + G": ((67.20, 87.01), (63.19, 84.98)),
    "SB + Multi-Stage TS": ((73.77, 91.49), (72.34, 89.80)),
    "Real-to-Bin": ((74.98, 92.16), (72.68, 91.57)),
    "Strong Baseline**": ((72.14, 89.92), (69.56, 89.20)),
    "SB + Att Trans**": ((74.34, 91.25), (72.64, 91.37)),
    "SB + Att Trans + HKD**": ((75.43, 92.15), (73.93, 91.24)),
    "SB + G**": ((72.01, 89.78), (70.86, 89.26)),
    "SB + Multi-Stage TS**": ((75.72, 92.11), (74.62, 91.79)),
    "Real-to-Bin**": ((76.49, 92.81), (76.15, 92.67)),
    "Full Precision": ((78.28, 93.63), None),
    "Full Precision + TS": ((79.26, 94.38), None),
}
# Section 4.1 and 4.2: activations, binary weights, learning rate, weight decay, warm-up.
STAGES = {
    0: ("tanh", False, 1e-3, 1e-5, 5),
    1: ("sign", False, 1e-3, 1e-5, 5),
    2: ("sign", True, 2e-4, 0.0, 0),
}
REAL = "full-precision"
# Stage, teacher, weights of label, attention and logit.
PHASES = {
    "strong-baseline": [(1, None, 1, 0, 0), (2, None, 1, 0, 0)],
    "att-trans": [(1, REAL, 1, 1, 0), (2, REAL, 1, 1, 0)],
    "att-trans-hkd": [(1, REAL, 1, 1, 1), (2, REAL, 1, 1, 1)],
    "gate": [(1, None, 1, 0, 0), (2, None, 1, 0, 0)],
    "multi-stage": [(0, REAL, 1, 1, 1), (1, "previous", 1, 1, 1), (2, "previous", 0, 0, 1)],
    "real-to-binary": [(0, REAL, 1, 1, 1), (1, "previous", 1, 1, 1), (2, "previous", 0, 0, 1)],
}
REAL_PHASES = {
    "full-precision": [(1, None, 1, 0, 0)],
    "full-precision-34": [(1, None, 1, 0, 0)],
    "full-precision-ts": [(1, "full-precision-34", 1, 1, 1)],
}


def test_the_files_are_the_rows_of_the_table_and_the_teacher_of_a_teacher():
    assert set(experiment.names()) == {*ROWS, "full-precision-34"}
    assert len(ROWS) == len(set(ROWS)) == 14


def test_the_figures_are_those_of_table_3():
    found = [experiment.load(name) for name in ROWS]
    assert [chosen.title for chosen in found] == list(TABLE3)
    for chosen in found:
        assert chosen.paper is not None
        assert (chosen.paper.stage1, chosen.paper.stage2) == TABLE3[chosen.title]
    assert experiment.load("full-precision-34").paper is None


@pytest.mark.parametrize("suffix", ["", SUFFIX])
@pytest.mark.parametrize("method", METHODS)
def test_network_of_a_method(method, suffix):
    chosen = experiment.load(method + suffix)
    gated = method in ("gate", "real-to-binary")
    assert chosen.network.arch == ("real-to-binary" if gated else "strong-baseline")
    assert chosen.network.downsample == ("binary" if suffix else "real")
    assert chosen.title.endswith("**") == (not suffix)


@pytest.mark.parametrize("suffix", ["", SUFFIX])
@pytest.mark.parametrize("method", METHODS)
def test_phases_of_a_method(method, suffix):
    phases = experiment.load(method + suffix).phases
    assert [summary(phase) for phase in phases] == PHASES[method]
    for phase in phases:
        assert rules(phase) == STAGES[phase.stage]
        assert phase.losses.transfer == "blocks"


@pytest.mark.parametrize("name", REAL_PHASES)
def test_phases_of_a_real_network(name):
    chosen = experiment.load(name)
    assert [summary(phase) for phase in chosen.phases] == REAL_PHASES[name]
    assert [rules(phase) for phase in chosen.phases] == [("off", *STAGES[1][1:])]
    arch = "full-precision-34" if name.endswith("34") else "full-precision"
    assert chosen.network.arch == arch


def test_networks_of_two_depths_are_matched_at_the_ends_of_their_groups():
    assert experiment.load("full-precision-ts").phases[0].losses.transfer == "ends"


def summary(phase):
    losses = phase.losses
    return (phase.stage, phase.teacher, losses.label, losses.attention, losses.logit)


def rules(phase):
    return (
        phase.activations,
        phase.binary_weights,
        phase.learning_rate,
        phase.weight_decay,
        phase.warm_up,
    )


GOOD = """
title = "T"
summary = "S"
network = { arch = "strong-baseline" }
[[phases]]
stage = 1
activations = "sign"
binary_weights = false
learning_rate = 1e-3
weight_decay = 1e-5
"""


def test_a_good_file():
    assert experiment.parse("mine", GOOD).phases[0].losses.label == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title =", "experiment mine: the file is no TOML: Invalid value (at end of document)"),
        (
            GOOD.replace("stage = 1", "stage = 3"),
            "experiment mine: phases.0.stage: Input should be 0, 1 or 2",
        ),
        (
            GOOD + "momentum = 0.9\n",
            "experiment mine: phases.0.momentum: Extra inputs are not permitted",
        ),
        (
            GOOD + 'teacher = "full-precision"\n',
            "experiment mine: phases.0: Value error, a phase has a teacher if, and only if, a loss "
            "compares with it",
        ),
        (
            GOOD + 'teacher = "previous"\nlosses = { logit = 1.0 }\n',
            "experiment mine: the whole: Value error, the first phase has no previous one as its "
            "teacher",
        ),
        (
            GOOD + "losses = { label = 0.0 }\n",
            "experiment mine: phases.0.losses: Value error, a phase needs a loss whose weight is "
            "above 0",
        ),
        (
            GOOD.replace("learning_rate = 1e-3", "learning_rate = -1.0"),
            "experiment mine: phases.0.learning_rate: Input should be greater than 0",
        ),
        (
            GOOD.partition("[[")[0] + "phases = []\n",
            "experiment mine: the whole: Value error, an experiment needs a phase",
        ),
        ("", "experiment mine: title: Field required; summary: Field required; "
         "network: Field required; phases: Field required"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file(text, message):
    with pytest.raises(TrainingError, match=f"^{re.escape(message)}$"):
        experiment.parse("mine", text)


def test_an_unknown_experiment():
    known = ", ".join(experiment.names())
    message = f"there is no experiment 'sgd'; known are: {known}"
    with pytest.raises(TrainingError, match=f"^{re.escape(message)}$"):
        experiment.load("sgd")
