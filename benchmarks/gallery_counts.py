"""What every network of the gallery costs, at full width; each is compared with PyTorch's counter.

    python benchmarks/gallery_counts.py
    python benchmarks/gallery_counts.py --narrow --only grouped

``torch.utils.flop_counter`` runs the network and counts convolutions and linear layers, two
operations for a multiply-accumulate; ours are to be the same number. It knows nothing of signs.
Exit status 1 if a network differs.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from r2b.backends.cost.accounting import Count
from r2b.counting import count_network
from r2b.sheets import Sheet, as_markdown, as_table

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "gallery"
sys.path.insert(0, str(EXAMPLES))
registry: Any = importlib.import_module("registry")

COLUMNS = (
    "network", "frame", "binary layers", "BOPS", "FLOPS", "MACs, 1x1 bit", "MACs, other", "PyTorch",
    "1-bit weights", "other values", "bytes at 32 bits",
)  # fmt: skip


def build(entry: Any, narrow: bool) -> nn.Module:
    """Give a network without statistics of its batch norms: they change no count."""
    torch.manual_seed(0)
    module = registry.load_module(entry)
    network = module.build(**entry.keywords(narrow))
    for step in (entry.prepare, entry.finish):
        if step:
            getattr(module, step)(network)
    return network.eval()


def pytorch_macs(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Multiply-accumulates by PyTorch's counter."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.rand(1, *shape))
    return counter.get_total_flops() // 2


def row(entry: Any, narrow: bool) -> tuple[tuple[Any, ...], bool]:
    """One row, and whether its multiply-accumulates are PyTorch's."""
    network, shape = build(entry, narrow), entry.shape(narrow)
    found: Count = count_network(network, shape)
    binary = found.macs.get((1, 1), 0)
    other = sum(found.macs.values()) - binary
    theirs = pytorch_macs(network, shape)
    layers = sum(layer.op.startswith("binary ") for layer in found.layers)
    frame = "x".join(map(str, shape))
    stored = found.stored
    bytes_ = -(-stored.bits(32) // 8)
    costs = (layers, found.bops, found.flops, binary, other, theirs)
    values = (entry.name, frame, *costs, stored.binary, stored.real, bytes_)
    return values, binary + other == theirs and layers == entry.binary


def main(
    only: Annotated[list[str] | None, typer.Option(help="Networks, by name.")] = None,
    narrow: Annotated[bool, typer.Option("--narrow", help="Fewer channels.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
) -> None:
    """Count the gallery."""
    entries = [entry for entry in registry.GALLERY if not only or entry.name in only]
    found = [row(entry, narrow) for entry in entries]
    sheet = Sheet("the gallery, per frame", COLUMNS, tuple(values for values, _ in found))
    if markdown:
        typer.echo(as_markdown(sheet))
    else:
        Console(width=180).print(as_table(sheet))
    wrong = [values[0] for values, right in found if not right]
    if wrong:
        typer.echo(f"not PyTorch's multiply-accumulates: {', '.join(wrong)}", err=True)
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
