"""``r2b-compile``: from a model file to a verified accelerator."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from r2b.console import BAD_INPUT, DIFFERENT, Reporter, exit_statuses, show_version, termination

if TYPE_CHECKING:
    from r2b.compiler import Result
    from r2b.explain import Explanation
    from r2b.frontend.loading import Request
    from r2b.options import Options

DEFAULT_VERIFY = "4"
EPILOG = """
Examples:

    r2b-compile model.pt\n
    r2b-compile model.pt2 --explain\n
    r2b-compile model.pt --verify\n
    r2b-compile weights.pth --model nets.resnet:birealnet18 --model-args classes=10\n
        --input-shape 3x32x32 --calibrate frames.npy\n
    r2b-compile model.pt --device ecp5-85f --parallelism 32x32 --verify 8 -o small.r2b\n
    r2b-compile model.pt --calibrate frames.npy --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225\n
    r2b-compile model.pt --target cost --json > cost.json\n
    r2b-compile model.pt --device ecp5-85f --target-fps 500\n
    r2b-compile model.pt --plan plans/plan.json

Exit status: 0 all equal, 1 results differ, 2 bad input.
"""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(epilog=EPILOG)
def compile_command(
    model: Annotated[
        Path,
        typer.Argument(
            help="Program of torch.export (.pt2), state_dict, checkpoint, or a name of the zoo."
        ),
    ],
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
        str | None,
        typer.Option(metavar="CxHxW|F", help="Shape of a frame.  [what MODEL or --calibrate says]"),
    ] = None,
    trust_pickle: Annotated[
        bool,
        typer.Option("--trust-pickle", help="Run the code in a pickled MODEL; know its origin."),
    ] = False,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Say what is binary, and why; compile and write nothing."),
    ] = False,
    target: Annotated[
        str, typer.Option(metavar="numpy|fpga|cost|all", help="What to make.")
    ] = "fpga",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="Folder to write.  [MODEL's name .r2b]"),
    ] = None,
    force: Annotated[
        bool, typer.Option("-f", "--force", help="Replace the folder if r2b made it.")
    ] = False,
    calibrate: Annotated[
        str | None,
        typer.Option(
            metavar="X.npy|random",
            help="Calibration frames, uint8 N x C x H x W.  [those in MODEL]",
        ),
    ] = None,
    act_bits: Annotated[int, typer.Option(metavar="8..16", help="Bits of the tensors.")] = 12,
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Device to plan for.  [xc7z020, or the Plan's]"),
    ] = None,
    clock: Annotated[
        float | None, typer.Option(metavar="MHZ", help="Clock.  [the device's usual one]")
    ] = None,
    parallelism: Annotated[
        str | None,
        typer.Option(
            metavar="PINxPOUT[xPPX]",
            help="XNOR array, and pixels at a time.  [the largest powers of two up to 64x64 that "
            "fit]",
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            metavar="B",
            help="Run each stage for B frames before the next one, so that streamed weights come "
            "once for all of them.  [1]",
        ),
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(
            "--plan", metavar="PLAN.json", help="Take this Plan, for example of r2b-explore."
        ),
    ] = None,
    target_fps: Annotated[
        float | None,
        typer.Option(
            "--target-fps",
            metavar="F",
            help="Take the smallest Plan that reaches F frames per second, by the cost model; "
            "with --batch, of those with that batch.",
        ),
    ] = None,
    verify: Annotated[
        int,
        typer.Option(
            metavar="[N]",
            help="Simulate the Verilog on N calibration frames, 4 if N is left away, and compare "
            "every stage.",
            show_default=False,
        ),
    ] = 0,
    mean: Annotated[
        str | None,
        typer.Option(metavar="M", help="The network gets (x/255 - M)/S; one, or one per channel."),
    ] = None,
    std: Annotated[str | None, typer.Option(metavar="S", help="See --mean.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="The network gets x, 0 to 255.")] = False,
    seed: Annotated[int, typer.Option(metavar="N", help="Of random calibration frames.")] = 0,
    sign_zero: Annotated[
        str | None,
        typer.Option(metavar="+1|-1", help="Sign of an exact 0, where the model has none."),
    ] = None,
    binarize_weights: Annotated[
        str | None,
        typer.Option(
            metavar="sign|mean",
            help="Binarize weights that are real in MODEL where activations are binary: +-1, or "
            "+- the mean magnitude of the channel.",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Print more.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Compile a binary network to a bit-exact FPGA accelerator."""
    reporter = Reporter(quiet, verbose, as_json)
    with exit_statuses(reporter):
        # torch takes seconds to load, and --help does not need it
        from r2b.frontend.loading import Request, parse_shape
        from r2b.options import Options

        means, deviations = parse_preprocessing(mean, std, raw)
        options = Options(
            target=target,
            output=output,
            force=force,
            calibration=calibrate,
            act_bits=act_bits,
            device=device,
            clock_mhz=clock,
            parallelism=parallelism,
            batch=batch,
            plan=plan,
            target_fps=target_fps,
            verify=verify,
            mean=means,
            std=deviations,
            raw=raw,
            seed=seed,
            sign_zero=parse_sign_zero(sign_zero),
            binarize_weights=parse_binarization(binarize_weights),
        )
        shape = None if input_shape is None else parse_shape(input_shape)
        request = Request(model, factory, model_args, trust_pickle)
        run = explain_and_show if explain else compile_and_show
        status = run(request, options, shape, reporter)
        if status:
            raise typer.Exit(status)


def compile_and_show(
    request: Request, options: Options, shape: tuple[int, ...] | None, reporter: Reporter
) -> int:
    """Compile, print the result, give the exit status."""
    from r2b.backends.target import TARGETS
    from r2b.compiler import compile_model

    result = compile_model(request, options, shape, reporter)
    show(result, reporter, TARGETS[options.target].prints_cost)
    equal = result.verification is None or result.verification.equal
    return 0 if equal else DIFFERENT


def explain_and_show(
    request: Request, options: Options, shape: tuple[int, ...] | None, reporter: Reporter
) -> int:
    """Explain, print what was found, give the exit status."""
    from r2b.explain import explain_model

    explanation = explain_model(request, options, shape, reporter)
    show_explanation(explanation, reporter)
    return 0 if explanation.unsupported is None else BAD_INPUT


def parse_preprocessing(
    mean: str | None, std: str | None, raw: bool
) -> tuple[float | tuple[float, ...], float | tuple[float, ...]]:
    """Mean and deviation of what the network receives for a pixel."""
    from r2b.ir.errors import CalibrationError

    if raw and (mean is not None or std is not None):
        raise CalibrationError(
            "--raw gives the network the pixels as they are; leave --mean, --std"
        )
    return _numbers("--mean", mean, 0.0), _numbers("--std", std, 1.0)


def _numbers(option: str, text: str | None, default: float) -> float | tuple[float, ...]:
    from r2b.ir.errors import CalibrationError

    if text is None:
        return default
    try:
        values = tuple(float(item) for item in text.split(","))
    except ValueError:
        raise CalibrationError(
            f"{option} takes a number, or one per channel with commas, not {text!r}"
        ) from None
    return values[0] if len(values) == 1 else values


def parse_sign_zero(text: str | None) -> Literal[-1, 1] | None:
    """Sign of an exact zero."""
    from r2b.ir.errors import CalibrationError

    if text is None:
        return None
    if text not in ("+1", "1", "-1"):
        raise CalibrationError(f"--sign-zero takes +1 or -1, not {text!r}")
    return -1 if text == "-1" else 1


def parse_binarization(text: str | None) -> Literal["sign", "mean"] | None:
    """How real weights become binary."""
    from r2b.ir.errors import UserError

    if text is None or text == "sign" or text == "mean":
        return text
    raise UserError(
        f"--binarize-weights takes sign or mean, not {text!r:.40}: sign gives +1 and -1, mean "
        "gives them times the mean magnitude of each output channel"
    )


def show(result: Result, reporter: Reporter, cost: bool = False) -> None:
    """Print the result; if ``cost``, with what network and accelerator cost."""
    from r2b import tables

    report = result.report
    if reporter.as_json:
        typer.echo(json.dumps(report, indent=2, ensure_ascii=False))
    if result.plan is not None:
        if result.choice is not None:
            reporter.show(result.choice)
        reporter.show(tables.plan_line(report))
        reporter.show(tables.stage_table(report))
        if cost:
            reporter.show(tables.hardware_table(report))
        for line in tables.frame_lines(report):
            reporter.show(line)
    if cost:
        show_operations(result, reporter)
    if reporter.verbose:
        reporter.show(tables.calibration_table(report))
    if result.verification is not None:
        reporter.show(tables.verification_line(report))
        for message in result.verification.messages:
            reporter.error(message)
    if result.folder is not None:
        reporter.show(f"wrote {result.folder}")


def show_operations(result: Result, reporter: Reporter) -> None:
    """Print the operations, parameters and memory of the model, as ``r2b-count`` does."""
    from r2b.count_sheets import quantities_sheet
    from r2b.counting import Counted
    from r2b.sheets import as_table

    if result.operations is not None:
        model = Counted(result.program.name, result.program.input_shape, result.operations)
        reporter.show(as_table(quantities_sheet([model])))


def show_explanation(explanation: Explanation, reporter: Reporter) -> None:
    """Print what ``--explain`` found."""
    from r2b import tables

    content = explanation.to_dict()
    if reporter.as_json:
        typer.echo(json.dumps(content, indent=2, ensure_ascii=False))
    reporter.show(tables.layer_table(content))
    for line in tables.explanation_lines(content):
        reporter.show(line)
    if explanation.unsupported is not None:
        reporter.error(explanation.unsupported)


def with_default_value(arguments: Sequence[str], option: str, default: str) -> list[str]:
    """Give an option whose value may be left away its default where it was."""
    result: list[str] = []
    for place, argument in enumerate(arguments):
        result.append(argument)
        following = arguments[place + 1] if place + 1 < len(arguments) else ""
        if argument == option and re.fullmatch(r"[+-]?[0-9]+", following) is None:
            result.append(default)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    given = sys.argv[1:] if argv is None else list(argv)
    arguments = with_default_value(given, "--verify", DEFAULT_VERIFY)
    try:
        with termination():
            app(args=arguments, prog_name="r2b-compile")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0
