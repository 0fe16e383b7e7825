"""Registers of a netlist moved into the ECP5's multipliers, which yosys leaves beside them.

A MULT18X18D has a register for each operand and one for its product, with enables of their own::

    A' = ce_a ? A : A'        B' = ce_b ? B : B'        P = ce_p ? A' * B' : P

Vendor tools take flip-flops in by themselves; ``synth_ecp5`` does not, and then the wires on either
side of a block are on one path with it. A flip-flop that others read, too, stays for them. The
reset of an operand's flip-flop, which yosys makes of a choice with 0, becomes a LUT before it.
nextpnr knows no time of the path inside a block, from register to register; the block takes 3.9 ns
without its registers (speed grade 6), so it is not what ends below 200 MHz.

Operands that are narrower than a block's are moved to its upper end, with zeros below instead of
copies of the sign above, which are a wire each: ``(a << i) * (b << j) = (a * b) << (i + j)``.

Constants at a block's control pins come from LUTs of its own, which are placed beside it. Left to
nextpnr they are one net over the whole device. Four blocks lie together and share one wire per
reset; router1 led that net to the wire on a way of its own for each block, and did not end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

BLOCK, FLIP_FLOP = "MULT18X18D", "TRELLIS_FF"
ENABLES = 4
"""Enables of a block."""
STEADY = "RST0", "SOURCEA", "SOURCEB", "SIGNEDA", "SIGNEDB"
"""Control pins whose constants are wires. An enable's are, too, but the four blocks that lie
together have four enables and four resets in all: a reset for each, and no more enables."""
PINS = {"INPUTA": ("A", 18), "INPUTB": ("B", 18), "OUTPUT": ("P", 36)}
"""Its registers, as the parameters name them, and their pins."""
DEEPEST = 3
"""LUTs in a row before an operand's flip-flop with which it is moved: behind more of them the long
way to a block does not fit into the same cycle, and the block's own time fits into the next."""
LEVELS = {"LUT4": 1, "PFUMX": 0, "L6MUX21": 0, "CCU2C": 1, "TRELLIS_DPR16X4": 1}
"""Cells without a register, and LUTs in a row that each is."""
CARRY, WRITES = "CIN", ("DI", "WAD", "WRE", "WCK")
"""A carry adds none; a LUT RAM's write port has registers."""
TOGETHER = ("INPUTA", "INPUTB"), ("OUTPUT",)
"""Registers that are moved both or not at all: with one operand's alone the block's input is slow,
and what comes before the register is on the path, too."""
RESET = {"SRMODE": "LSR_OVER_CE", "LSRMUX": "LSR"}
"""A flip-flop's reset that a LUT before it can take over: with the clock, not inverted."""
Bit = int | str
"""A net, or a constant."""
Control = tuple[Bit, Bit]
"""Clock and enable."""


def pack_registers(module: dict[str, Any]) -> dict[str, int]:
    """Change a flattened module of yosys's JSON; how many registers of each kind were moved."""
    netlist = _Netlist(module)
    moved = dict.fromkeys(PINS, 0)
    blocks = [(name, cell) for name, cell in module["cells"].items() if cell["type"] == BLOCK]
    for name, cell in blocks:
        block = _Block(name, cell, netlist)
        block.align()
        for registers in TOGETHER:
            for register in registers if block.holds(registers) else ():
                block.take(register)
                moved[register] += 1
        block.finish()
    netlist.clean()
    return moved


def pins_of(register: str) -> list[str]:
    """Pins of a register, the lowest bit first."""
    letter, count = PINS[register]
    return [f"{letter}{index}" for index in range(count)]


def copies_of_the_sign(nets: list[list[Bit]]) -> int:
    """How many of the upper bits are copies of the one below them."""
    return next(
        (count for count in range(len(nets) - 1) if nets[-1 - count] != nets[-2 - count]),
        len(nets) - 1,
    )


def _nets_of(module: dict[str, Any]) -> Iterator[int]:
    for wire in (*module["netnames"].values(), *module["ports"].values()):
        yield from (bit for bit in wire["bits"] if isinstance(bit, int))


class _Netlist:
    """Who drives and who reads each net.

    Parameters
    ----------
    module : dict
    """

    def __init__(self, module: dict[str, Any]) -> None:
        self.cells: dict[str, dict[str, Any]] = module["cells"]
        self.driver: dict[Bit, str] = {}
        self.with_reset: dict[str, Bit] = {}
        self.depths: dict[Bit, int] = {}
        self.readers: dict[Bit, list[tuple[str, str]]] = defaultdict(list)
        for name, cell in self.cells.items():
            for pin, bits in cell["connections"].items():
                for bit in bits:
                    if cell["port_directions"][pin] == "output":
                        self.driver[bit] = name
                    else:
                        self.readers[bit].append((name, pin))
        drivers = (bit for bit in self.driver if isinstance(bit, int))
        self.last_net = max((*drivers, *_nets_of(module)), default=1)
        for name, port in module["ports"].items():
            if port["direction"] != "input":
                for bit in port["bits"]:
                    self.readers[bit].append(("", name))

    def before(self, bit: Bit) -> str | None:
        """The flip-flop that drives a net, if a block's register can do the same."""
        name = self.driver.get(bit, "")
        if self.control(name) is None:
            return None
        return name if self.depth(self.cells[name]["connections"]["DI"][0]) <= DEEPEST else None

    def depth(self, bit: Bit) -> int:
        """LUTs in a row between registers and a net; a carry chain is one."""
        if bit not in self.depths:
            cell = self.cells.get(self.driver.get(bit, ""), {"type": ""})
            self.depths[bit] = 0  # within a loop
            self.depths[bit] = max(
                (
                    (LEVELS[cell["type"]] if pin != CARRY else 0) + self.depth(net)
                    for pin, nets in cell.get("connections", {}).items()
                    if cell["type"] in LEVELS and pin not in WRITES
                    if cell["port_directions"][pin] == "input"
                    for net in nets
                ),
                default=0,
            )
        return self.depths[bit]

    def behind(self, bit: Bit) -> str | None:
        """The flip-flop that alone reads a net, if a block's register can do the same."""
        ((name, pin),) = self.readers[bit] if len(self.readers[bit]) == 1 else [("", "")]
        able = pin == "DI" and self.control(name) is not None and self.reset(name) == "0"
        return name if able else None

    def control(self, name: str) -> Control | None:
        """Clock and enable of a flip-flop that begins with 0; with a reset it is always enabled."""
        cell = self.cells.get(name, {"type": ""})
        if cell["type"] != FLIP_FLOP:
            return None
        pins, parameters = cell["connections"], cell["parameters"]
        enable = parameters.get("CEMUX", "1").strip()
        usual = parameters["CLKMUX"] == "CLK" and parameters.get("REGSET", "RESET") == "RESET"
        if not usual or enable not in ("1", "CE"):
            return None
        gated = self.reset(name) != "0"
        if gated and not (enable == "1" and RESET.items() <= parameters.items()):
            return None
        return pins["CLK"][0], pins["CE"][0] if enable == "CE" else "1"

    def reset(self, name: str) -> Bit:
        """Reset of a flip-flop, 0 if it has none."""
        net: Bit = self.cells[name]["connections"].get("LSR", ["0"])[0]
        return net

    def data(self, name: str) -> Bit:
        """What a flip-flop takes, 0 while it is reset."""
        pins, reset = self.cells[name]["connections"], self.reset(name)
        net: Bit = pins["DI"][0]
        if reset == "0":
            return net
        if name not in self.with_reset:
            self.with_reset[name] = self.lut(f"{name}$reset", "0010" * 4, A=net, B=reset)
        return self.with_reset[name]

    def lut(self, name: str, init: str, **inputs: Bit) -> Bit:
        """Output of a new LUT; its content with the highest of its inputs, D C B A, first."""
        assert name not in self.cells
        self.last_net += 1
        self.cells[name] = {
            "hide_name": 1, "type": "LUT4", "parameters": {"INIT": init}, "attributes": {},
            "port_directions": dict.fromkeys("ABCD", "input") | {"Z": "output"},
            "connections": {pin: [inputs.get(pin, "0")] for pin in "ABCD"} | {"Z": [self.last_net]},
        }  # fmt: skip
        for pin, net in inputs.items():
            self.readers[net].append((name, pin))
        return self.last_net

    def clean(self) -> None:
        """Remove flip-flops that nobody reads any more."""
        read = {bit for bit, readers in self.readers.items() if any(n == "" for n, _ in readers)}
        for cell in self.cells.values():
            for pin, bits in cell["connections"].items():
                if cell["port_directions"][pin] != "output":
                    read.update(bits)
        flip_flops = [name for name, cell in self.cells.items() if cell["type"] == FLIP_FLOP]
        for name in flip_flops:
            if self.cells[name]["connections"]["Q"][0] not in read:
                del self.cells[name]


class _Block:
    """A multiplier that takes registers in.

    Parameters
    ----------
    name : str
    cell : dict
    netlist : _Netlist
    """

    def __init__(self, name: str, cell: dict[str, Any], netlist: _Netlist) -> None:
        self.name, self.cell, self.netlist = name, cell, netlist
        self.pins: dict[str, list[Bit]] = cell["connections"]
        self.clock: Bit | None = None
        self.enables: list[Bit] = []

    def align(self) -> None:
        """Operands at the upper end, as far as all bits that are read stay in the product."""
        product = [self.pins[pin] for pin in pins_of("OUTPUT")]
        read = [place for place, (net,) in enumerate(product) if self.netlist.readers[net]]
        room = PINS["OUTPUT"][1] - 1 - max(read, default=0)
        moved = 0
        for register in ("INPUTA", "INPUTB"):
            pins = pins_of(register)
            nets = [self.pins[pin] for pin in pins]
            signed = self.pins[f"SIGNED{PINS[register][0]}"] == ["1"] or nets[-1] == ["0"]
            shift = min(copies_of_the_sign(nets), room - moved) if signed else 0
            zeros: list[list[Bit]] = [["0"] for _ in range(shift)]
            for pin, net in zip(pins, zeros + nets, strict=False):
                self.pins[pin] = net
            moved += shift
        spare = product[len(product) - moved :]
        for pin, net in zip(pins_of("OUTPUT"), spare + product, strict=False):
            self.pins[pin] = net

    def holds(self, registers: tuple[str, ...]) -> bool:
        """Whether the flip-flops of all pins of these registers can be moved."""
        controls = [self._flip_flops(register)[1] for register in registers]
        clocks = {self.clock, *(control[0] for control in controls if control)} - {None}
        enables = {*self.enables, *(control[1] for control in controls if control)}
        return None not in controls and len(clocks) == 1 and len(enables) <= ENABLES

    def take(self, register: str) -> None:
        """Move the flip-flops of all pins of a register."""
        found, control = self._flip_flops(register)
        assert control is not None
        for pin in pins_of(register):
            name = found.get(self.pins[pin][0])
            if name is not None:
                self._connect(pin, name, register == "OUTPUT")
        self._declare(register, control)

    def _flip_flops(self, register: str) -> tuple[dict[Bit, str | None], Control | None]:
        """Net -> its flip-flop, and what these have in common; None if they do not."""
        output = register == "OUTPUT"
        pins = pins_of(register)
        nets = [self.pins[pin][0] for pin in pins if self._matters(self.pins[pin][0], output)]
        find = self.netlist.behind if output else self.netlist.before
        found = {net: find(net) for net in nets}
        controls = {self.netlist.control(name or "") for name in found.values()}
        return found, controls.pop() if len(controls) == 1 else None

    def _matters(self, net: Bit, output: bool) -> bool:
        """A product's unread bits, and a constant 0, are the same with a register."""
        return bool(self.netlist.readers[net]) if output else net != "0"

    def _connect(self, pin: str, name: str, output: bool) -> None:
        """Past the flip-flop; behind a product it is gone."""
        wires = self.netlist.cells[name]["connections"]
        self.pins[pin] = wires["Q"] if output else [self.netlist.data(name)]
        if output:
            del self.netlist.cells[name]
        else:
            self.netlist.readers[self.pins[pin][0]].append((BLOCK, pin))

    def _declare(self, register: str, control: Control) -> None:
        self.clock, enable = control
        if enable not in self.enables:
            self.enables.append(enable)
        names = {"CLK": "CLK0", "CE": f"CE{self.enables.index(enable)}", "RST": "RST0"}
        self.cell["parameters"] |= {f"REG_{register}_{key}": to for key, to in names.items()}

    def finish(self) -> None:
        """Connect the clock and the enables that registers were given, then the constants."""
        if self.clock is not None:
            added = {f"CE{index}": net for index, net in enumerate(self.enables)}
            for pin, net in (added | {"CLK0": self.clock, "RST0": "0"}).items():
                self.pins[pin] = [net]
                self.cell["port_directions"][pin] = "input"
        for value in "01":
            pins = [pin for pin in STEADY if self.pins.get(pin) == [value]]
            if pins:
                net = self.netlist.lut(f"{self.name}${value}", value * 16)
                self.pins |= {pin: [net] for pin in pins}


__all__ = ["pack_registers"]
