"""Types of the values in a Graph."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum


class DType(Enum):
    """Kind of the elements of a tensor."""

    FLOAT = "float"
    BIPOLAR = "bipolar"
    """Every element is -1 or +1."""
    BOOL = "bool"
    """Result of a comparison; gone after canonicalisation."""


@dataclass(frozen=True)
class TensorType:
    """Shape and kind of one tensor.

    Parameters
    ----------
    shape : tuple of int
        All dimensions; a feature map is ``(1, C, H, W)``.
    dtype : DType
        Kind of the elements.
    batched : bool
        The tensor depends on the frame: its first dimension is written 1 here and stands for N, any
        number of frames. A tensor that is the same for every frame (a constant) has no such
        dimension.
    """

    shape: tuple[int, ...]
    dtype: DType = DType.FLOAT
    batched: bool = True

    def __post_init__(self) -> None:
        """Check the shape."""
        if self.batched and self.shape[:1] != (1,):
            raise ValueError(
                f"the first dimension of a batched type is 1, the frame, not {self.shape[:1]}"
            )
        if any(size < 1 for size in self.shape):
            raise ValueError(f"every dimension must be 1 or more, not {self.shape}")

    def __str__(self) -> str:
        """Write as text does: ``float[N, 64, 8, 8]``."""
        sizes = [str(size) for size in self.shape]
        if self.batched:
            sizes[0] = "N"
        return f"{self.dtype.value}[{', '.join(sizes)}]"

    @property
    def channels(self) -> int:
        """Size of dimension 1."""
        if len(self.shape) < 2:
            raise ValueError(f"{self} has no channels, two dimensions or more are needed")
        return self.shape[1]

    def with_dtype(self, dtype: DType) -> TensorType:
        """Give the same shape with elements of another kind."""
        return replace(self, dtype=dtype)

    def with_shape(self, shape: tuple[int, ...]) -> TensorType:
        """Give the same kind of elements in another shape."""
        return replace(self, shape=shape)
