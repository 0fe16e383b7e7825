"""``r2b-count``: what it prints, and its exit status."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from r2b import cli_count, table1
from r2b.backends.cost.rules import CONVENTIONS, UNITS
from r2b.counting import CountOptions, count_network
from r2b.sheets import Sheet
from r2b.train import checkpoint, zoo

DIGITS = "real-to-binary-digits"
TINY = {"widths": [8], "blocks": [1]}
SHAPE = (1, 16, 16)
# 5x5 stem; two 3x3 binary convolutions with a gate 8 -> 1 -> 8; head
BINARY, REAL = 2 * 8 * 8 * 9 * 64, 8 * 256 * 25 + 2 * 16 + 80


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A tiny model file."""
    monkeypatch.chdir(tmp_path)
    state = zoo.build(DIGITS, TINY).state_dict()
    checkpoint.save("tiny.pt", arch=DIGITS, config=TINY, state_dict=state)
    return "tiny.pt"


def run(capfd, *arguments: str) -> str:
    assert cli_count.main(list(arguments)) == 0
    out, err = capfd.readouterr()
    assert err == ""
    return out


def refused(capfd, *arguments: str) -> str:
    assert cli_count.main(list(arguments)) == 2
    out, err = capfd.readouterr()
    assert out == ""
    return err.removeprefix("error: ").strip()


def test_one_model(model, capfd):
    out = run(capfd, model)
    assert "tiny.pt: convention paper, per frame" in out
    lines = {tuple(line.split()) for line in out.splitlines()}
    assert ("BOPS", f"{BINARY:,}") in lines
    assert ("multiply-accumulate", f"{REAL:,}") in lines
    assert ("MACs,", "1-bit", "weight", "x", "1-bit", "activation", f"{BINARY:,}") in lines


def test_side_by_side_with_differences(model, capfd):
    out = run(capfd, model, DIGITS, "--csv", "--convention", "macs")
    rows = list(csv.reader(io.StringIO(out)))
    figures = ("BOPS", "FLOPS", "MACs", "parameters", "MiB")
    assert rows[0] == ["model", *(f"{name}{end}" for name in figures for end in ("", " +/-"))]
    assert rows[1][:7] == ["tiny.pt", str(BINARY), "", str(REAL), "", str(BINARY + REAL), ""]
    assert rows[2][:5] == [DIGITS, "2064384", str(2064384 - BINARY), "240128", str(240128 - REAL)]


def test_json_has_every_operation(model, capfd):
    content = json.loads(run(capfd, model, "--json", "--real-bits", "16"))
    assert (content["format"], content["convention"]) == ("r2b-count", "paper")
    (found,) = content["models"]
    assert (found["name"], found["input_shape"]) == ("tiny.pt", [1, 16, 16])
    assert found["bops"] == BINARY == sum(layer["bops"] for layer in found["layers"])
    assert found["flops"] == sum(layer["flops"] for layer in found["layers"])
    assert found["macs"] == [
        {"weight_bits": 1, "activation_bits": 1, "count": BINARY},
        {"weight_bits": 16, "activation_bits": 16, "count": REAL},
    ]
    assert {layer["module"] for layer in found["layers"]} >= {"stem.conv", "body.group1.1.gate.fc1"}


def test_per_layer(model, capfd):
    out = run(capfd, model, "--per-layer", "--markdown")
    assert f"| body.group1.0.conv | binary conv 3x3 | 8x8x8 | {BINARY // 2:,} | 0 | 576 |" in out
    assert "| view |" not in out
    rows = list(csv.reader(io.StringIO(run(capfd, model, "--per-layer", "--csv"))))
    assert sum(int(row[3]) for row in rows[1:]) == BINARY
    assert [row[1] for row in rows[1:3]] == ["input", "conv 5x5"]


def test_a_state_dict_with_its_factory(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "countnet.py").write_text(
        "from torch import nn\n\ndef make(classes):\n    return nn.Linear(6, classes)\n"
    )
    torch.save(nn.Linear(6, 4).state_dict(), "linear.pth")
    given = ["linear.pth", "--model", "countnet:make", "--model-args", "classes=4"]
    out = run(capfd, *given, "--input-shape", "6", "--csv")
    assert out.splitlines()[1].startswith("linear.pth,0,,24,,28,,")


def test_rules_are_the_tables(capfd):
    content = json.loads(run(capfd, "--rules", "--json"))
    assert list(content["kinds"]) == list(UNITS)
    assert {name: one["costs"] for name, one in content["conventions"].items()} == {
        name: dict(convention.costs) for name, convention in CONVENTIONS.items()
    }
    text = run(capfd, "--rules", "--markdown")
    for kind, unit in UNITS.items():
        costs = [CONVENTIONS[name].costs[kind] for name in ("paper", "macs", "ops")]
        last = "bits x bits" if kind == "multiply-accumulate" else "0"
        row = [kind, unit.operations.replace("|", "\\|"), unit.unit, *map(str, costs), last]
        assert f"| {' | '.join(row)} |" in text


def test_table1_and_its_status(monkeypatch, capfd):
    sheet = Sheet("Table 1", ("method", "BOPS"), (("BNN", 1),))
    right = table1.Comparison(sheet, (), ())
    monkeypatch.setattr(table1, "compare", lambda _reporter: right)
    assert "every figure is the paper's" in run(capfd, "table1")
    wrong = replace(right, differing=("BNN, bnn-224: 2 BOPS, the rule gives 1",))
    monkeypatch.setattr(table1, "compare", lambda _reporter: wrong)
    assert cli_count.main(["table1", "--json"]) == 1
    out, err = capfd.readouterr()
    assert json.loads(out)["differing"] == list(wrong.differing)
    assert err == "error: BNN, bnn-224: 2 BOPS, the rule gives 1\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            [],
            "there is nothing to count: name a MODEL or more, or table1; --rules says how is "
            "counted, --help the rest",
        ),
        (
            ["bnn-32", "--csv", "--json"],
            "--json, --csv and --markdown exclude each other; give one",
        ),
        (
            ["bnn-32", "--convention", "flops"],
            "there is no convention 'flops'; there are paper, macs, ops, bops-bits",
        ),
        (
            ["bnn-32", "--real-bits", "12"],
            "what is not binary has one of 32, 16, 8 bits, not 12",
        ),
        (
            ["table1", "--convention", "macs"],
            "table1 is counted by the convention paper and in its own form; leave --convention, "
            "--real-bits, --binarize-weights and --per-layer away",
        ),
        (
            ["bnn-32", "--input-shape", "3x224x224"],
            "--input-shape 3x224x224 does not fit: the network in the file takes 3x32x32; leave "
            "it away",
        ),
    ],
)
def test_bad_input(capfd, arguments, expected):
    assert refused(capfd, *arguments) == expected


class Erf(nn.Module):
    input_shape = (3, 4, 4)

    def forward(self, x):
        return torch.erf(x)


def test_an_operation_without_a_rule(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    program = torch.export.export(Erf(), (torch.zeros(2, 3, 4, 4),))
    torch.export.save(program, "erf.pt2")
    found = refused(capfd, "erf.pt2")
    assert "1 operation has no rule to be counted by:\n  aten.erf.default ->" in found
    assert "test_cli_count.py:" in found


def test_the_file_and_the_module_count_the_same(model, capfd):
    network = zoo.build(DIGITS, TINY)
    found = count_network(network, SHAPE, CountOptions(real_bits=8))
    content = json.loads(run(capfd, model, "--json", "--real-bits", "8"))
    assert content["models"][0]["activation_bytes"] == found.activation_bits / 8
    assert np.isclose(content["models"][0]["parameter_bytes"]["8"], found.stored.bits(8) / 8)
