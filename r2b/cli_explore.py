"""``r2b-explore``: every Plan of a device, what it costs and gives, and the best of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from r2b.console import DIFFERENT, Reporter, exit_statuses, show_version, termination

if TYPE_CHECKING:
    from r2b.explore.job import Order, Result

SHOWN = 16
"""Plans of a front that are printed without -v."""
INTERRUPTED = "interrupted; --resume goes on where it stopped"
EPILOG = """
Examples:

    r2b-explore model.pt --device ecp5-85f\n
    r2b-explore model.r2b --device xc7z020 --device zu3eg --target-fps 1000 -o plans\n
    r2b-explore real-to-binary-32 --calibrate random --device ecp5-85f --axis lanes=4,8\n
    r2b-explore model.pt --device ecp5-85f --scheduler tcp://host:8786 --synth 4\n
    r2b-explore model.pt --device ecp5-85f -o plans --resume\n
    r2b-compile model.pt --plan plans/plan.json

Exit status: 0 a Plan is chosen, 1 none fits or reaches --target-fps, 2 bad input, 130 interrupted.
"""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(epilog=EPILOG)
def explore_command(
    model: Annotated[
        Path | None,
        typer.Argument(
            help="Program of torch.export (.pt2), state_dict, checkpoint, folder of r2b-compile, "
            "or a name of the zoo."
        ),
    ] = None,
    device: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Device; may be repeated.")
    ] = None,
    clock: Annotated[
        float | None, typer.Option(metavar="MHZ", help="Clock.  [each device's usual one]")
    ] = None,
    target_fps: Annotated[
        float | None,
        typer.Option("--target-fps", metavar="F", help="Frames per second that are enough."),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What the best Plan is: fps, fps-per-lut, fps-per-dsp, luts, dsps, ram, "
            "bandwidth, latency, share.  [fps; with --target-fps share]",
        ),
    ] = None,
    axis: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=V,V,...", help="Other values of an axis; --axes lists them."),
    ] = None,
    axes: Annotated[bool, typer.Option("--axes", help="List the axes and end.")] = False,
    scheduler: Annotated[
        str,
        typer.Option(metavar="local|tcp://HOST:PORT", help="Processes here, or a Dask scheduler."),
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", help="Local processes; 1 is this one.  [one per core]"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="Folder.  [MODEL's name .explore]"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the exploration that DIR holds.")
    ] = False,
    synth: Annotated[
        int,
        typer.Option(
            metavar="K",
            help="Synthesize the best K Plans of each front, and route them where nextpnr is.",
        ),
    ] = 0,
    factory: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="PACKAGE.MODULE:FACTORY",
            help="What makes the network of a state_dict; this code is run.",
        ),
    ] = None,
    model_args: Annotated[
        str | None, typer.Option(metavar="JSON|K=V,...", help="Keywords for the factory.")
    ] = None,
    input_shape: Annotated[
        str | None, typer.Option(metavar="CxHxW|F", help="Shape of a frame.  [what MODEL says]")
    ] = None,
    trust_pickle: Annotated[
        bool,
        typer.Option("--trust-pickle", help="Run the code in a pickled MODEL; know its origin."),
    ] = False,
    calibrate: Annotated[
        str | None,
        typer.Option(metavar="X.npy|random", help="Calibration frames.  [those in MODEL]"),
    ] = None,
    act_bits: Annotated[int, typer.Option(metavar="8..16", help="Bits of the tensors.")] = 12,
    mean: Annotated[
        str | None, typer.Option(metavar="M", help="The network gets (x/255 - M)/S.")
    ] = None,
    std: Annotated[str | None, typer.Option(metavar="S", help="See --mean.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="The network gets x, 0 to 255.")] = False,
    seed: Annotated[int, typer.Option(metavar="N", help="Of random calibration frames.")] = 0,
    sign_zero: Annotated[
        str | None, typer.Option(metavar="+1|-1", help="Sign of an exact 0.")
    ] = None,
    binarize_weights: Annotated[
        str | None, typer.Option(metavar="sign|mean", help="Binarize weights that are real.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Print whole fronts.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Explore the Plans of a binary network's accelerator by the cost model, and choose one."""
    reporter = Reporter(quiet, verbose, as_json)
    with exit_statuses(reporter, INTERRUPTED):
        if axes:
            show_axes(reporter)
            return
        # torch takes seconds to load, and --help does not need it
        from r2b.cli_compile import parse_binarization, parse_preprocessing, parse_sign_zero
        from r2b.explore.job import Order
        from r2b.explore.space import parse_axes
        from r2b.frontend.loading import Request, parse_shape
        from r2b.ir.errors import UserError
        from r2b.options import Options

        if model is None:
            raise UserError(
                "there is nothing to explore: name a MODEL; --help says what may be one"
            )
        means, deviations = parse_preprocessing(mean, std, raw)
        options = Options(
            target="cost", calibration=calibrate, act_bits=act_bits, mean=means, std=deviations,
            raw=raw, seed=seed, sign_zero=parse_sign_zero(sign_zero),
            binarize_weights=parse_binarization(binarize_weights),
        )  # fmt: skip
        order = Order(
            Request(model, factory, model_args, trust_pickle), options, tuple(device or ()),
            output or Path(model.with_suffix(".explore").name),
            None if input_shape is None else parse_shape(input_shape), clock, target_fps,
            objective, scheduler, workers, resume, synth, parse_axes(axis or []),
            any(text.startswith("batch=") for text in axis or []),
        )  # fmt: skip
        if explore_and_show(order, reporter):
            raise typer.Exit(DIFFERENT)


def show_axes(reporter: Reporter) -> None:
    """Print the axes of the space."""
    from r2b.explore.space import AXES
    from r2b.sheets import Sheet, as_table

    rows = tuple((a.name, ", ".join(map(str, a.values)), a.meaning) for a in AXES.values())
    reporter.show(as_table(Sheet("the space: every combination", ("axis", "values", ""), rows)))
    if reporter.as_json:
        content = {a.name: {"values": a.values, "meaning": a.meaning} for a in AXES.values()}
        typer.echo(json.dumps(content, indent=2))


def explore_and_show(order: Order, reporter: Reporter) -> int:
    """Explore, print, give the exit status: 0 if a Plan was chosen."""
    from r2b.explore.job import explore_model, program_maker
    from r2b.options import check_options

    check_options(order.options)
    order.check()
    result = explore_model(order, program_maker(order, reporter), reporter)
    if reporter.as_json:
        typer.echo(json.dumps(content_of(order, result), indent=2))
    show(order, result, reporter)
    for line in result.shortfalls:
        if result.best is None:
            reporter.error(line)
        else:
            reporter.warn(line)
    return 0 if result.best is not None else DIFFERENT


def content_of(order: Order, result: Result) -> dict[str, Any]:
    """The result as JSON."""
    speed = result.speed
    return {
        "name": result.program.name,
        "figures": "analytic",
        "objective": result.objective.name,
        "target_fps": order.target_fps,
        **result.summary,
        "evaluated": {
            "plans": speed.plans, "seconds": round(speed.seconds, 3),
            "plans_per_second": round(speed.plans_per_second, 1),
        },
        "fronts": result.fronts,
        "synthesized": {
            name: [{"point": found.point, **found.found} for found in several]
            for name, several in result.measured.items()
        },
        "chosen": result.chosen,
        "best": result.best,
        "shortfalls": result.shortfalls,
    }  # fmt: skip


def show(order: Order, result: Result, reporter: Reporter) -> None:
    """Print the fronts, what was left out, and what was chosen."""
    from r2b.explore.front import choose, describe
    from r2b.explore.sheets import front_sheet, summary_sheet, synthesis_sheet
    from r2b.sheets import as_table

    for found in result.explored:
        front = result.fronts[found.device]
        if front:
            chosen = result.chosen.get(found.device)
            most = None if reporter.verbose else SHOWN
            reporter.show(as_table(front_sheet(found.device, front, chosen, most)))
        if result.measured.get(found.device):
            reporter.show(as_table(synthesis_sheet(result, found.device)))
    reporter.show(as_table(summary_sheet(result)))
    for reason, number in result.summary["excluded"].items():
        reporter.show(f"not a Plan, {number:,} points: {reason}")
    speed = result.speed
    if speed.plans:
        reporter.show(
            f"{speed.plans:,} Plans in {speed.seconds:.1f} s: {speed.plans_per_second:,.0f} per "
            "second"
        )
    for row in result.chosen.values():
        reporter.show(
            f"{row['device']}: {describe(row)}: {row['fps']:,.1f} frames/s at "
            f"{row['clock_mhz']:g} MHz, {row['fullest']} {row['share']:.0%}, bound by "
            f"{row['binds']} (analytic); {result.objective.meaning}"
        )
    for found in result.explored:
        row = choose(found.fits, result.objective, order.target_fps)
        chosen = result.chosen.get(found.device)
        if row is not None and row["batch"] > 1 and not order.batches and chosen is not None:
            reporter.show(
                f"{found.device}: --axis batch={row['batch']}, which raises latency, would give "
                f"{row['fps']:,.1f} frames/s, {row['fullest']} {row['share']:.0%}: {describe(row)}"
            )
    if result.best is not None:
        reporter.show(f"wrote {order.output}; its plan.json is for {result.best['device']}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        with termination():
            app(args=arguments, prog_name="r2b-explore")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0
