"""The order of the passes, and the pipeline that leaves the canonical vocabulary."""

from __future__ import annotations

from r2b.ir.graph import Graph
from r2b.ir.passes.bind_parameters import BindParameters
from r2b.ir.passes.cancel_straight_through import CancelStraightThrough
from r2b.ir.passes.canonicalize_signs import CanonicalizeSigns
from r2b.ir.passes.eliminate_identities import EliminateIdentities
from r2b.ir.passes.fold_binary_scale import FoldBinaryScale
from r2b.ir.passes.fold_constants import FoldConstants
from r2b.ir.passes.fold_operand_scale import FoldOperandScale
from r2b.ir.passes.fold_padding import FoldPadding
from r2b.ir.passes.hoist_views import HoistViews
from r2b.ir.passes.infrastructure import Pass, Pipeline
from r2b.ir.passes.merge_batch_norms import MergeBatchNorms
from r2b.ir.passes.merge_common_subexpressions import MergeCommonSubexpressions
from r2b.ir.passes.merge_selections import MergeSelections
from r2b.ir.passes.recognize_activations import RecognizeActivations
from r2b.ir.passes.recognize_add import RecognizeAdd
from r2b.ir.passes.recognize_binary_convs import Binarization, RecognizeBinaryConvs
from r2b.ir.passes.recognize_channel_affine import RecognizeChannelAffine
from r2b.ir.passes.recognize_channel_means import RecognizeChannelMeans
from r2b.ir.passes.recognize_flatten import RecognizeFlatten
from r2b.ir.passes.recognize_gates import RecognizeGates
from r2b.ir.passes.recognize_global_pooling import RecognizeGlobalPooling
from r2b.ir.passes.recognize_scale import RecognizeScale
from r2b.ir.passes.recognize_spatial_scale import RecognizeSpatialScale
from r2b.ir.passes.reorder_signs import ReorderSigns
from r2b.ir.passes.resolve_sign_zeros import ResolveSignZeros, SignZero
from r2b.ir.verify import require_canonical


def passes_for(
    sign_zero: SignZero | None = None, binarize_weights: Binarization | None = None
) -> tuple[Pass, ...]:
    """Every pass, in order, with the reason for its place; options as :func:`canonicalize`."""
    return (
        # --- what training left behind
        # before the estimators: their two soft parts may be computed twice
        MergeCommonSubexpressions(),
        # before identities go, because a detach is what tells an estimator from arithmetic; before
        # constants are folded, because folding would leave its drift in the weights
        CancelStraightThrough(),
        EliminateIdentities(),
        # before constants are folded too: a weight that is 0 must still show that it has a sign
        CanonicalizeSigns(),
        # after signs in every form are Sign, before folding makes numbers of them
        ResolveSignZeros(sign_zero),
        # --- parameters
        FoldConstants(),
        # after folding, when weights are constants
        BindParameters(),
        # after folding, when numbers are numbers; before affine maps hide the arithmetic
        RecognizeActivations(),
        # after signs, which need their arithmetic whole
        RecognizeChannelAffine(),
        # --- structure
        RecognizeGlobalPooling(),
        # after averages over images, which may go over channels as well
        RecognizeChannelMeans(),
        # after pooling, which reads views as they were written
        RecognizeGates(),
        RecognizeFlatten(),
        # after gates, whose views stand between a gate and its product
        HoistViews(),
        # after views: they stand between a factor and its product
        RecognizeScale(),
        RecognizeSpatialScale(),
        RecognizeAdd(),
        MergeSelections(),
        # --- binary
        # after views, which stand between a sign and a border or a pooling
        ReorderSigns(),
        # after signs have moved in front of borders
        FoldPadding(),
        # after the affine maps: a scale between a sign and a layer is one
        FoldOperandScale(),
        # types prove the operand, the field proves the weight
        RecognizeBinaryConvs(binarize_weights, sign_zero),
        # again: a border of -1 or +1 has its place in a binary convolution only
        FoldPadding(),
        # wants the binary layer and the scale behind it as BatchNorm
        FoldBinaryScale(),
        # a scale that belongs to a convolution is folded there first
        MergeBatchNorms(),
        # last: the passes may have made what does nothing, and the same thing twice
        EliminateIdentities(),
        MergeCommonSubexpressions(),
    )


DEFAULT_PASSES: tuple[Pass, ...] = passes_for()
"""Every pass with its options as they are by default."""


def canonicalize(
    graph: Graph,
    sign_zero: SignZero | None = None,
    binarize_weights: Binarization | None = None,
) -> Graph:
    """Give the canonical form of a graph the frontend made.

    Parameters
    ----------
    graph : Graph
        Is left as it is.
    sign_zero : -1, +1 or None
        What the sign of a weight that is exactly 0 becomes, where the model gives 0 for it.
    binarize_weights : "sign", "mean" or None
        Binarise the real weights of layers whose operand is bipolar: networks whose training
        binarises outside of ``forward``.

    Raises
    ------
    UnsupportedOpError
        Operations are left that the canonical vocabulary has no word for, or weights of binary
        layers are 0 and ``sign_zero`` is not given; all of them are named.
    """
    result = Pipeline(passes_for(sign_zero, binarize_weights)).run(graph).graph
    require_canonical(result)
    return result
