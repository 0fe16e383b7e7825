"""The devices r2b plans for: resources, clock, and where the figures come from."""

from __future__ import annotations

from dataclasses import dataclass

from r2b.ir.errors import PlanError

RAM18_BITS = 18 * 1024
LUT_INPUTS = {"ecp5": 4, "xc7": 6, "xcup": 6}
"""Family -> inputs of a LUT."""


@dataclass(frozen=True)
class Device:
    """A device's resources.

    Parameters
    ----------
    name, family : str
        Family is ``ecp5``, ``xc7`` or ``xcup`` (UltraScale+).
    luts : int
        LUT4 on ECP5, LUT6 elsewhere.
    ffs, dsps : int
    ram18 : int
        18 kb block RAMs (a 36 kb block counts twice).
    clock_mhz : float
        The usual clock: what a design like this closes without effort.
    source : str
        Where the resources were read.
    """

    name: str
    family: str
    luts: int
    ffs: int
    dsps: int
    ram18: int
    clock_mhz: float
    source: str

    def has(self) -> dict[str, int]:
        """Its resources by name."""
        return {"LUT": self.luts, "FF": self.ffs, "RAM18": self.ram18, "DSP": self.dsps}


_ECP5 = "Lattice FPGA-DS-02012, table 1.1; the 85F also in nextpnr's device report"
_DS180 = "AMD DS180, 7 Series overview"
_DS190 = "AMD DS190, Zynq-7000 overview"
_DS891 = "AMD DS891, Zynq UltraScale+ overview"

DEVICES = {
    device.name: device
    for device in (
        Device("ecp5-25f", "ecp5", 24_288, 24_288, 28, 56, 100.0, _ECP5),
        Device("ecp5-45f", "ecp5", 43_848, 43_848, 72, 108, 100.0, _ECP5),
        Device("ecp5-85f", "ecp5", 83_640, 83_640, 156, 208, 100.0, _ECP5),
        Device("xc7a35t", "xc7", 20_800, 41_600, 90, 100, 150.0, _DS180),
        Device("xc7a100t", "xc7", 63_400, 126_800, 240, 270, 180.0, _DS180),
        Device("xc7z020", "xc7", 53_200, 106_400, 220, 280, 150.0, _DS190),
        Device("zu3eg", "xcup", 70_560, 141_120, 360, 432, 250.0, _DS891),
        Device("zu7ev", "xcup", 230_400, 460_800, 1_728, 624, 300.0, _DS891),
    )
}


def device(name: str) -> Device:
    """The device of that name; PlanError lists the known ones."""
    if name not in DEVICES:
        raise PlanError(f"unknown device {name!r}; known: {', '.join(DEVICES)}")
    return DEVICES[name]
