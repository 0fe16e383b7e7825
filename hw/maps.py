"""The feature and the sign memory of the core: who writes them, who reads them, and what they make
of it; where there is a front, whose memory a stage reads.
"""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.utils import exact_log2

from r2b.hw.epilogue import Epilogue
from r2b.hw.front import Front
from r2b.hw.memory import Banked, registered_read, sign_copy
from r2b.hw.params import CoreParams
from r2b.hw.presum import PresumBuffer


class Maps:
    """Adds both memories to a core.

    Parameters
    ----------
    params : CoreParams
    front : Front or None
    """

    def __init__(self, params: CoreParams, front: Front | None) -> None:
        self.params, self.front = params, front

    def features(self, m: Module, d, engines, lanes, sink, line, signs) -> None:
        """Written by the sinks; read for the skip add or by the MAC array; by both in a cycle only
        where a real convolution has a skip.
        """
        p = self.params
        memory = Banked(m, "features", p.sinks.values, p.fm_words)
        memory.write(m, sink.fm_en, sink.fm_addr, sink.fm_data)
        real, reads = engines.get(False), []
        if real is None:  # of a back
            skip = self._read(m, d, memory, lanes.skip_addr, "feature")
        else:
            both = any(conv.chain.skip and not conv.binary for conv in p.geometry.convs)
            address = real.pixel.src if both else Mux(d.binary, lanes.skip_addr, real.pixel.src)
            read = self._read(m, d, memory, address, "feature")
            skip = self._read(m, d, memory, lanes.skip_addr, "skip") if both else read
            reads = [real.operand.eq(self._operands(m, d, real, line, signs, read))]
        m.d.comb += [
            lanes.skip_data.eq(skip),
            *reads,
            *self._multiplied(m, d, memory, lanes),
            *([] if line is None else self._window(d, real, line)),
        ]

    def _operands(self, m: Module, d, real, line, signs, read):
        """What the MAC array takes: of the frame, of the feature memory or of the sign memory."""
        p = self.params
        width = p.engines[False].array.a_width
        operands = Signal(data.ArrayLayout(signed(width), p.sinks.lanes), name="operands")
        values = read if p.presum is None else self._presums(m, real, read)
        if line is not None:
            pixels = Signal.like(line.o, name="pixels")  # they come as late as what is read
            m.d.sync += pixels.eq(line.o)
        for lane in range(p.sinks.lanes):
            value = values[lane]
            if signs is not None:  # bits stand for -1 and 1
                value = Mux(d.from_signs, Mux(signs[lane], 1, -1), value)
            if line is not None:
                value = Mux(d.frame, pixels[lane], value)
            m.d.sync += operands[lane].eq(value)
        return operands

    def _window(self, d, real, line) -> list:
        """Where in the frame the MAC array reads."""
        return [
            line.src.eq(real.pixel.src),
            line.phase.eq(real.pixel.phase),
            line.byte.eq(real.pixel.byte),
            line.row_bytes.eq(d.row_bytes),
        ]

    def _presums(self, m: Module, real, values):
        """The values, or sums of them over a window that were made before."""
        m.submodules.presum = buffer = PresumBuffer(self.params.presum)
        names = ("sum", "reuse", "fresh", "kc", "index")
        m.d.comb += [
            *(getattr(buffer, name).eq(real.pixel[name]) for name in names),
            buffer.valid.eq(real.pixel.valid & real.enable),
            buffer.values.eq(values),
        ]
        return buffer.o

    def _multiplied(self, m: Module, d, memory: Banked, lanes: Epilogue) -> list:
        """The epilogue's factors out of the feature memory."""
        if not lanes.multiplies:
            return []
        return [lanes.multiply_data.eq(self._read(m, d, memory, lanes.multiply_addr, "multiply"))]

    def _read(self, m: Module, d, memory: Banked, address, name: str):
        """A word of the feature memory; of the front's where the stage says so."""
        own = memory.read(m, address, name)
        if self.front is None or not getattr(self.front.ports, name):
            return own
        m.d.comb += self.front.fm_read_addr[name].eq(address)
        found = Signal.like(own, name=f"{name}_found")
        theirs = self.front.fm_read[name].as_value()
        m.d.comb += found.as_value().eq(Mux(d[f"front_{name}"], theirs, own.as_value()))
        return found

    def signs(self, m: Module, d, engines, sink):
        """One word of P_in bits per read and pixel of a group, from a copy for each; written
        ``lanes`` bits at a time. Gives the bits that the real engine asked for, or None.
        """
        p, binary, real = self.params, engines.get(True), engines.get(False)
        from_signs = any(conv.part.signs for conv in p.geometry.convs)
        if binary is None and not from_signs:
            return None
        banks = p.sinks.sign_banks
        shift = exact_log2(banks) if from_signs else 0
        address = 0 if real is None else real.pixel.src >> shift
        px = 1 if binary is None else binary.params.array.px
        if binary is not None:
            first = binary.pixel.src if px == 1 else binary.pixel.px_src[0]
            address = Mux(d.binary, first, address) if from_signs else first
        word = registered_read(m, sign_copy(m, "signs", p, sink), address, "sign_word")
        word = self._chosen_signs(m, d, 0, address, word)
        words = [word]
        for j in range(1, px):
            copy = sign_copy(m, f"signs_{j}", p, sink)
            address = binary.pixel.px_src[j]
            later = registered_read(m, copy, address, f"sign_word_{j}")
            words.append(self._chosen_signs(m, d, j, address, later))
        if binary is not None:
            self._binary_operand(m, d, binary, words)
        return self._real_bits(m, d, real, word, shift) if from_signs else None

    def _chosen_signs(self, m: Module, d, copy: int, address, own):
        """A word of the sign memory, or of the front's where the stage says so."""
        if self.front is None or copy >= self.front.ports.signs:
            return own
        word = Signal.like(own, name=f"sign_chosen_{copy}")
        m.d.comb += [
            self.front.sm_read_addr[copy].eq(address),
            word.eq(Mux(d.front_signs, self.front.sm_read[copy], own)),
        ]
        return word

    def _binary_operand(self, m: Module, d, engine, words) -> None:
        """Bits of lanes in use, or the fill outside the image; of every pixel of a group."""
        width = len(words[0])
        count = Signal.like(engine.pixel.count)
        masked = Signal(width * len(words), reset_less=True)
        mask = Signal(width)
        if self.params.geometry.filled:
            words = self._filled(m, d, engine, words)
        m.d.comb += [mask[i].eq(i < count) for i in range(width)]
        m.d.sync += count.eq(engine.pixel.count)
        for j, word in enumerate(words):
            m.d.sync += masked[j * width : (j + 1) * width].eq(word & mask)
        m.d.comb += engine.operand.eq(masked)

    def _real_bits(self, m: Module, d, engine, word, shift: int):
        """The ``lanes`` bits that a real convolution reads, as late as what it reads else."""
        lanes = self.params.sinks.lanes
        if self.params.geometry.filled:
            (word,) = self._filled(m, d, engine, [word])
        bits = Signal(lanes, name="sign_bits", reset_less=True)
        bank = Signal(max(1, shift), name="sign_bank")
        m.d.sync += bank.eq(engine.pixel.src[:shift])
        late = Signal.like(bits, name="sign_bits_late", reset_less=True)
        m.d.sync += [bits.eq(word.word_select(bank, lanes)), late.eq(bits)]
        return late

    def _filled(self, m: Module, d, engine, words) -> list:
        """The words, or the fill where the pixel is outside the image."""
        outside = Signal(len(words), name="outside")
        m.d.sync += outside.eq(engine.pixel.outside)
        return [Mux(outside[j], d.fill.replicate(len(word)), word) for j, word in enumerate(words)]
