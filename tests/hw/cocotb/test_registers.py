"""Register file: map, AXI4-Lite rules (cocotb), and the table the manual is printed from."""

from __future__ import annotations

from amaranth.back import verilog

from r2b.hw.registers import ACCESS, MAGIC, REGISTERS, RegisterFile, table

CONSTANTS = {
    "ID": MAGIC,
    "VERSION.major": 3,
    "VERSION.minor": 2,
    "VERSION.patch": 1,
    "MODEL_HASH": 0x89ABCDEF,
    "CONFIG.p_in": 64,
    "CONFIG.p_out": 48,
    "CONFIG.p_px": 1,
    "CONFIG.act_bits": 12,
    "CONFIG.streamed": 1,
    "CYCLES_HI": 0,
}


def reset_word(register) -> int:
    """What a register reads after a reset, with the accelerator idle."""
    total = {"CTRL": 0b1100}.get(register.name, 0)
    for field in register.fields:
        name = register.name if field.name == "value" else f"{register.name}.{field.name}"
        total |= CONSTANTS.get(name, field.reset) << field.bit
    return total


def test_register_file(testbench):
    """Every promise of the register file under Verilator."""
    mapping = {
        register.offset: {
            "name": register.name,
            "writable": register.writable,
            "reset": reset_word(register),
        }
        for register in REGISTERS
    }
    text = verilog.convert(RegisterFile(CONSTANTS), name="register_file")
    names = testbench(text, "register_file", "registers_tb", map=mapping, constants=CONSTANTS)
    assert len(names) == 15


def test_the_map_is_in_order_without_overlaps():
    """Offsets rise in words; fields of a register do not overlap; names and accesses are known."""
    offsets = [register.offset for register in REGISTERS]
    assert offsets == sorted(set(offsets))
    assert all(offset % 4 == 0 for offset in offsets)
    for register in REGISTERS:
        bits = [b for field in register.fields for b in range(field.bit, field.bit + field.width)]
        assert len(bits) == len(set(bits)) and max(bits) < 32, register.name
        assert all(field.access in ACCESS for field in register.fields), register.name


def test_the_manual_has_a_row_per_field():
    """Every field stands in the printed table."""
    rows = table()
    assert len(rows) == sum(len(register.fields) for register in REGISTERS)
    assert ("0x50", "SCRATCH[31:0]", "rw", "for tests; nothing reads it") in rows
    assert rows[0][:3] == ("0x00", "CTRL.start[0]", "w1s")
