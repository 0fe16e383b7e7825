"""The three losses of section 4: attention matching, logit matching, labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

_SMALLEST_NORM = 1e-12
"""Norms are not taken as smaller: the map of a block whose output is all 0 stays 0."""


def attention_map(activations: Tensor) -> Tensor:
    """Return ``Q / ||Q||_2`` with ``Q = sum over channels of |A_i|^2`` (section 4.2).

    Parameters
    ----------
    activations : Tensor
        ``N x C x H x W``; the sum runs in float32 at least, squares of half precision overflow.

    Returns
    -------
    Tensor
        ``N x (H*W)``, each frame's map of norm 1.
    """
    wide = activations.to(torch.promote_types(activations.dtype, torch.float32))
    energy = wide.square().sum(dim=1).flatten(1)
    return functional.normalize(energy, dim=1, eps=_SMALLEST_NORM)


def attention_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Match spatial attention maps: equation 2 of section 4.2, averaged over the frames.

    ``sum over j of || Q_S^j / ||Q_S^j||_2  -  Q_T^j / ||Q_T^j||_2 ||_2``, the norms as printed:
    none is squared, and each frame's maps are normalised alone. The gradient does not reach the
    teacher.

    Parameters
    ----------
    student, teacher : sequence of Tensor
        Outputs of the transfer points, ``N x C x H x W``; of a pair only C may differ.

    Raises
    ------
    ValueError
        There are no pairs, the lengths differ, or the maps of a pair have different sizes.
    """
    if len(student) != len(teacher) or not student:
        raise ValueError(
            "attention matching needs pairs of maps, "
            f"not {len(student)} of the student and {len(teacher)} of the teacher"
        )
    pairs = zip(student, teacher, strict=True)
    distances = [_distance(index, *pair) for index, pair in enumerate(pairs)]
    return torch.stack(distances).sum()


def _distance(index: int, student: Tensor, teacher: Tensor) -> Tensor:
    found = [(len(maps), *maps.shape[2:]) for maps in (student, teacher)]
    if found[0] != found[1]:
        sizes = [" x ".join(map(str, maps.shape)) for maps in (student, teacher)]
        raise ValueError(
            "attention maps must agree in frames, height and width, but at transfer point "
            f"{index} the student has {sizes[0]} and the teacher {sizes[1]}"
        )
    difference = attention_map(student) - attention_map(teacher.detach())
    return torch.linalg.vector_norm(difference, dim=1).mean()


def logit_loss(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Match logits: "standard logit matching (Hinton et al., 2015)" of section 4.2.

    ``T^2 * KL(softmax(teacher / T) || softmax(student / T))``, averaged over the frames. The
    gradient does not reach the teacher.

    Parameters
    ----------
    student, teacher : Tensor
        Logits, ``N x num_classes``.
    temperature : float
        T, above 0; the paper names none, so it is 1 unless told otherwise.

    Raises
    ------
    ValueError
        The shapes differ, or the temperature is not above 0.
    """
    if student.shape != teacher.shape:
        raise ValueError(
            "logits must have one shape, not "
            f"{tuple(student.shape)} of the student and {tuple(teacher.shape)} of the teacher"
        )
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, not {temperature}")
    # in float32 at least: in bfloat16 equal logits would have a divergence
    wide = torch.promote_types(student.dtype, torch.float32)
    divergence = functional.kl_div(
        functional.log_softmax(student / temperature, dim=1, dtype=wide),
        functional.log_softmax(teacher.detach() / temperature, dim=1, dtype=wide),
        reduction="batchmean",
        log_target=True,
    )
    return divergence * temperature**2


def label_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy ``-sum over c of p_c * log softmax(logits)_c``, averaged over the frames.

    Parameters
    ----------
    logits : Tensor
        ``N x num_classes``.
    target : Tensor
        int64 classes ``N``, or probabilities ``N x num_classes`` (mix-up, section 4.1).
    """
    return functional.cross_entropy(logits, target)
