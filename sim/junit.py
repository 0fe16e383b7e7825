"""JUnit XML, which CI servers show as a list of tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from r2b.sim.compare import Report
from r2b.sim.files import write_whole


@dataclass(frozen=True)
class Case:
    """One test: its name, and what failed or None."""

    name: str
    failure: str | None = None


def compared_cases(report: Report) -> list[Case]:
    """One case per stored tensor, sign map and for the logits, and one per stray write."""
    first: dict[tuple[str, str], str] = {}
    for mismatch in report.mismatches:
        first.setdefault((mismatch.stage, mismatch.tensor), str(mismatch))
    keys = [*report.compared_bits, *(key for key in first if key not in report.compared_bits)]
    return [
        Case(f"{stage}/{tensor}", _failure(report, stage, tensor, first)) for stage, tensor in keys
    ]


def _failure(
    report: Report, stage: str, tensor: str, first: dict[tuple[str, str], str]
) -> str | None:
    text = first.get((stage, tensor))
    if text is None:
        return None
    return f"{report.differing_bits.get((stage, tensor), 0)} differing bits; first: {text}"


def write_junit(path: Path, suite: str, cases: Sequence[Case], seconds: float) -> None:
    """Write one test suite."""
    failed = sum(case.failure is not None for case in cases)
    root = ElementTree.Element(
        "testsuite", name=suite, tests=str(len(cases)), failures=str(failed), errors="0",
        skipped="0", time=f"{seconds:.3f}",
    )  # fmt: skip
    for case in cases:
        element = ElementTree.SubElement(root, "testcase", classname=suite, name=case.name)
        if case.failure is not None:
            ElementTree.SubElement(element, "failure", message=case.failure).text = case.failure
    ElementTree.indent(root)
    content: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    write_whole(path, content)
