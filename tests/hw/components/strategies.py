"""Random small networks, for Hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from r2b.hw.core import CoreParams
from r2b.ir.program import Window
from tests.hw.components.cases import Layer, make_params


@st.composite
def axes(draw, frame_cols: bool = False) -> tuple[int, int, int, int, int, int]:
    """Extent, kernel, stride, padding on both sides, dilation of one axis."""
    dilation = 1 if frame_cols else draw(st.integers(1, 2))
    kernel, stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    reach = dilation * (kernel - 1) + 1
    before, after = draw(st.integers(0, reach - 1)), draw(st.integers(0, reach - 1))
    extent = draw(st.integers(max(dilation, reach - before - after), 9))
    return extent, kernel, stride, before, after, dilation


@st.composite
def layers(draw, kinds: tuple[str, ...] = ("binary", "real", "presum")) -> Layer:
    """A convolution of a sign map or a tensor."""
    kind = draw(st.sampled_from(kinds))
    channels, source = draw(st.integers(1, 11)), draw(st.integers(1, 19))
    outer = draw(st.booleans())
    (rows, kh, sh, top, bottom, dh), (cols, kw, sw, left, right, dw) = draw(axes()), draw(axes())
    if kind == "presum":
        presum = Window((min(kh, rows), min(kw, cols)), (sh, sw))
        size = (source, rows, cols)
        return Layer("real", size, channels, Window((1, 1)), presum, outer=outer)
    window = Window((kh, kw), (sh, sw), (top, left, bottom, right), (dh, dw))
    return Layer(kind, (source, rows, cols), channels, window, outer=outer)


@st.composite
def frame_layers(draw) -> Layer:
    """A convolution of the frame."""
    (rows, kh, sh, top, bottom, dh), (cols, kw, sw, left, right, _) = draw(axes()), draw(axes(True))
    window = Window((kh, kw), (sh, sw), (top, left, bottom, right), (dh, 1))
    shape = (draw(st.integers(1, 4)), rows, cols)
    return Layer("frame", shape, draw(st.integers(1, 7)), window, outer=True)


@st.composite
def networks(draw, pixels: tuple[int, ...] = (1,)) -> CoreParams:
    """Up to four stages and a Plan with one of some numbers of pixels at a time."""
    lanes = draw(st.integers(1, 3))
    plan = {
        "lanes": lanes,
        "p_in": lanes * draw(st.integers(1, 3)),
        "p_out": lanes * draw(st.integers(1, 3)),
        "mac_out": lanes * draw(st.integers(1, 2)),
        "tile_pixels": draw(st.integers(1, 20)),
        "weight_word": draw(st.integers(3, 17)),
        "mac_weight_word": draw(st.integers(9, 40)),
        "hop": draw(st.integers(1, 4)),
        "line_words": 4096,
        "p_px": draw(st.sampled_from(pixels)),
    }
    stages = draw(st.lists(layers(), min_size=1, max_size=3))
    stages += draw(st.lists(frame_layers(), max_size=1))
    return make_params(stages, draw(st.integers(0, 99)), **plan)
