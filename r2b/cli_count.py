"""``r2b-count``: operations, parameters and memory of a network."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from r2b.console import DIFFERENT, Reporter, exit_statuses, show_version, termination
from r2b.sheets import Sheet, as_csv, as_markdown, as_table

if TYPE_CHECKING:
    from r2b.counting import Counted, CountOptions
    from r2b.frontend.loading import Request

TABLE1 = "table1"
EPILOG = """
Examples:

    r2b-count real-to-binary-224\n
    r2b-count bnn-224 xnor-net-224 double-skip-224 bi-real-224 real-to-binary-224\n
    r2b-count model.pt2 --per-layer\n
    r2b-count weights.pth --model nets.resnet:birealnet18 --input-shape 3x224x224\n
        --convention macs --csv > macs.csv\n
    r2b-count table1\n
    r2b-count --rules --markdown

Exit status: 0 counted, 1 a figure of table1 differs, 2 bad input.
"""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Form:
    """How to print."""

    reporter: Reporter
    as_csv: bool = False
    as_markdown: bool = False

    def show(self, sheets: Sequence[Sheet], content: dict[str, Any]) -> None:
        """Print tables, or one JSON document in their place."""
        if self.reporter.as_json:
            typer.echo(json.dumps(content, indent=2, ensure_ascii=False))
        elif self.as_csv or self.as_markdown:
            write = as_csv if self.as_csv else as_markdown
            typer.echo("\n\n".join(write(sheet) for sheet in sheets))
        else:
            for sheet in sheets:
                self.reporter.show(as_table(sheet))


@app.command(epilog=EPILOG)
def count_command(
    models: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="MODEL...",
            help="Programs of torch.export (.pt2), state_dicts, checkpoints, or names of the zoo; "
            "or table1, for the paper's Table 1.",
        ),
    ] = None,
    factory: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="PACKAGE.MODULE:FACTORY",
            help="What makes the network of a state_dict; this code is run.",
        ),
    ] = None,
    model_args: Annotated[
        str | None,
        typer.Option(metavar="JSON|K=V,...", help="Keywords for the factory."),
    ] = None,
    input_shape: Annotated[
        str | None, typer.Option(metavar="CxHxW|F", help="Shape of a frame.  [what MODEL says]")
    ] = None,
    trust_pickle: Annotated[
        bool,
        typer.Option("--trust-pickle", help="Run the code in a pickled MODEL; know its origin."),
    ] = False,
    convention: Annotated[
        str, typer.Option(metavar="paper|macs|ops|bops-bits", help="How to count, see --rules.")
    ] = "paper",
    real_bits: Annotated[
        int, typer.Option(metavar="32|16|8", help="Width of what is not binary.")
    ] = 32,
    binarize_weights: Annotated[
        str | None,
        typer.Option(
            metavar="sign|mean",
            help="Binarize weights that are real in MODEL where activations are binary.",
        ),
    ] = None,
    per_layer: Annotated[
        bool, typer.Option("--per-layer", help="Every operation, instead of the sums.")
    ] = False,
    rules: Annotated[
        bool, typer.Option("--rules", help="Print what every operation costs, and why.")
    ] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Print more.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Count the operations, parameters and memory of networks, side by side."""
    reporter = Reporter(quiet, verbose, as_json)
    with exit_statuses(reporter, interrupted="interrupted"):
        form = checked_form(reporter, csv, markdown)
        if rules:
            show_rules(form)
            return
        # torch takes seconds to load, and --help does not need it
        from r2b.cli_compile import parse_binarization
        from r2b.counting import CountOptions
        from r2b.frontend.loading import Request, parse_shape

        binarization = parse_binarization(binarize_weights)
        options = CountOptions(convention, real_bits, binarization)
        requests = [Request(path, factory, model_args, trust_pickle) for path in models or []]
        if [str(request.path) for request in requests] == [TABLE1]:
            status = show_table1(options, per_layer, form)
        else:
            shape = None if input_shape is None else parse_shape(input_shape)
            show_models(requests, options, shape, per_layer, form)
            status = 0
        if status:
            raise typer.Exit(status)


def checked_form(reporter: Reporter, csv: bool, markdown: bool) -> Form:
    """How to print; one way only."""
    from r2b.ir.errors import UserError

    if reporter.as_json + csv + markdown > 1:
        raise UserError("--json, --csv and --markdown exclude each other; give one")
    return Form(reporter, csv, markdown)


def show_rules(form: Form) -> None:
    """Print every rule."""
    from r2b.count_data import rules_dict
    from r2b.count_sheets import rules_sheets

    form.show(rules_sheets(), rules_dict())


def show_models(
    requests: Sequence[Request],
    options: CountOptions,
    shape: tuple[int, ...] | None,
    per_layer: bool,
    form: Form,
) -> None:
    """Count some models and print them."""
    from r2b.backends.cost.accounting import check_options
    from r2b.counting import count_models
    from r2b.ir.errors import UserError

    if not requests:
        raise UserError(
            "there is nothing to count: name a MODEL or more, or table1; --rules says how is "
            "counted, --help the rest"
        )
    check_options(options.convention, options.real_bits)
    show_counted(count_models(requests, options, shape, form.reporter), options, per_layer, form)


def show_counted(
    models: Sequence[Counted], options: CountOptions, per_layer: bool, form: Form
) -> None:
    """Print counts: of CSV one table, of all else an overview first."""
    from r2b.count_sheets import layers_sheet, models_sheet, overview
    from r2b.counting import to_dict

    if per_layer:
        sheets = [layers_sheet(models, everything=form.as_csv or form.reporter.verbose)]
    else:
        sheets = [models_sheet(models)] if form.as_csv else overview(models)
    form.show(sheets, to_dict(models, options))


def show_table1(options: CountOptions, per_layer: bool, form: Form) -> int:
    """Count the networks of Table 1, print them beside the paper's figures, give the status."""
    from r2b.counting import CountOptions, to_dict
    from r2b.ir.errors import UserError
    from r2b.table1 import compare

    if options != CountOptions() or per_layer:
        raise UserError(
            "table1 is counted by the convention paper and in its own form; leave --convention, "
            "--real-bits, --binarize-weights and --per-layer away"
        )
    found = compare(form.reporter)
    content = to_dict(found.models, options)
    form.show([found.sheet], {**content, "differing": list(found.differing)})
    for line in found.differing:
        form.reporter.error(line)
    if not found.differing:
        form.reporter.show("every figure is the paper's, cut to its four digits")
    return DIFFERENT if found.differing else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        with termination():
            app(args=arguments, prog_name="r2b-count")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0
