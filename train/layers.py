"""Binary convolutions, and the scale factors behind them."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from r2b.train.ste import BINARIZATIONS, Binarization, Gradient, binarize, sign


class BinaryConv2d(nn.Module):
    """Convolution of the signs of its input with the signs of its weights.

    Padding is with zeros, which are neither -1 nor +1: taps outside the image contribute nothing.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output.
    stride : int
        Step in both directions.
    kernel_size : int
        Odd; the padding is half of it.
    gradient, weight_gradient : str
        Straight-through estimators of the input's and of the weights' signs.

    Attributes
    ----------
    activations : "off", "tanh" or "sign"
        What is done to the input: nothing, tanh (stage 0), sign (the finished network).
    binary_weights : bool
        True for the finished network; False convolves with the real weights (stages 0 and 1).

    Both are no part of the state dict: :func:`set_binarization` sets them per training stage.
    """

    activations: Binarization
    binary_weights: bool

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        kernel_size: int = 3,
        gradient: Gradient = "clipped",
        weight_gradient: Gradient = "clipped",
    ) -> None:
        super().__init__()
        self.stride = stride
        self.kernel_size = kernel_size
        self.gradient: Gradient = gradient
        self.weight_gradient: Gradient = weight_gradient
        self.activations = "sign"
        self.binary_weights = True
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        self.reset_parameters()

    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Draw the weights (Glorot, normal)."""
        nn.init.xavier_normal_(self.weight, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve; every output is a sum of +-1 products when both operands are binary."""
        weight = sign(self.weight, self.weight_gradient) if self.binary_weights else self.weight
        operand = binarize(x, self.activations, self.gradient)
        return functional.conv2d(operand, weight, stride=self.stride, padding=self.kernel_size // 2)

    def extra_repr(self) -> str:
        """Show the shape in ``print(model)``."""
        out_channels, in_channels = self.weight.shape[:2]
        shape = f"{in_channels}, {out_channels}, stride={self.stride}"
        return shape if self.kernel_size == 3 else f"{shape}, kernel_size={self.kernel_size}"


def set_binarization(model: nn.Module, *, activations: Binarization, weights: bool) -> None:
    """Switch every :class:`BinaryConv2d` in ``model`` to a stage of section 4.2.

    Stage 0 is ``("tanh", False)``, stage 1 ``("sign", False)``, stage 2 and the finished network
    ``("sign", True)``.

    Parameters
    ----------
    model : Module
        Is changed in place.
    activations : "off", "tanh" or "sign"
        What is done to the inputs of the convolutions.
    weights : bool
        Whether the weights are binarised.

    Raises
    ------
    ValueError
        ``activations`` is none of the three.
    """
    if activations not in BINARIZATIONS:
        raise ValueError(
            f"activations must be one of {', '.join(BINARIZATIONS)}, not {activations!r}"
        )
    for module in model.modules():
        if isinstance(module, BinaryConv2d):
            module.activations = activations
            module.binary_weights = weights


def set_binary_weights(model: nn.Module, binary: bool) -> None:
    """Let every :class:`BinaryConv2d` in ``model`` use the signs of its weights, or the weights."""
    for module in model.modules():
        if isinstance(module, BinaryConv2d):
            module.binary_weights = binary


class Alpha(nn.Module):
    """XNOR-Net's factor per output channel: the mean magnitude of its weights.

    ``alpha[o] = mean(|W[o]|)``, so that ``alpha * sign(W)`` is the nearest to W. Real weights need
    none: the factor is 1 while the weights are not binarised.
    """

    def forward(self, u: Tensor, conv: BinaryConv2d) -> Tensor:
        """Return the factor, ``1 x C x 1 x 1``."""
        if not conv.binary_weights:
            return conv.weight.new_ones((1, len(conv.weight), 1, 1))
        return conv.weight.abs().mean(dim=(1, 2, 3))[None, :, None, None]


class MagnitudeMap(nn.Module):
    """XNOR-Net's K, the factor per frame and position: how large the binarised operand was.

    ``K`` is the mean of ``|u|`` over the channels and the window of the convolution, taps in the
    padding counting as 0. It is 1 while the input is not binarised.
    """

    def forward(self, u: Tensor, conv: BinaryConv2d) -> Tensor:
        """Return the factor, ``N x 1 x H x W`` of the convolution's output."""
        if conv.activations != "sign":
            return u.new_ones((1, 1, 1, 1))
        kernel = conv.kernel_size
        magnitude = u.abs().mean(dim=1, keepdim=True)
        return functional.avg_pool2d(magnitude, kernel, conv.stride, kernel // 2)


class ChannelScale(nn.Module):
    """One learned factor per output channel.

    Parameters
    ----------
    channels : int
        Channels of the convolution's output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Begin without scaling."""
        nn.init.ones_(self.weight)

    def forward(self, u: Tensor, conv: nn.Module) -> Tensor:
        """Return the factor, ``1 x C x 1 x 1``."""
        return self.weight[None, :, None, None]


class RankOneScale(nn.Module):
    """XNOR-Net++'s learned factor: the outer product of one vector per dimension.

    ``factor[o, h, w] = channel[o] * row[h] * column[w]`` (Bulat & Tzimiropoulos, 2019).

    Parameters
    ----------
    channels : int
        Channels of the convolution's output.
    size : tuple of int
        Its height and width: a network with such scales takes frames of one size.
    """

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.channel = nn.Parameter(torch.empty(channels))
        self.row = nn.Parameter(torch.empty(size[0]))
        self.column = nn.Parameter(torch.empty(size[1]))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Begin without scaling."""
        for vector in (self.channel, self.row, self.column):
            nn.init.ones_(vector)

    def forward(self, u: Tensor, conv: nn.Module) -> Tensor:
        """Return the factor, ``1 x C x H x W``."""
        return (self.channel[:, None, None] * self.row[:, None] * self.column)[None]


class Gate(nn.Module):
    """Factor per output channel and frame: ``sigmoid(fc2(relu(fc1(mean of u over the image))))``.

    Figure 1 (right) and equation 3; ``u`` is what the convolution binarises.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the map that is read and of the map that is scaled.
    reduction : int
        ``fc1`` has ``in_channels // reduction`` outputs.
    """

    def __init__(self, in_channels: int, out_channels: int, reduction: int) -> None:
        super().__init__()
        hidden = in_channels // reduction
        self.fc1 = nn.Linear(in_channels, hidden, bias=False)
        self.fc2 = nn.Linear(hidden, out_channels, bias=False)

    def forward(self, u: Tensor, conv: nn.Module | None = None) -> Tensor:
        """Return the factor, ``N x out_channels x 1 x 1``."""
        hidden = torch.relu(self.fc1(u.mean(dim=(2, 3))))
        return torch.sigmoid(self.fc2(hidden))[:, :, None, None]
