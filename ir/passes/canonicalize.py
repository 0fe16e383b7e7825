"""The order of the passes, and the pipeline that leaves the canonical vocabulary."""

from __future__ import annotations

from r2b.ir.graph import Graph
from r2b.ir.passes.bind_parameters import BindParameters
from r2b.ir.passes.cancel_straight_through import CancelStraightThrough
from r2b.ir.passes.canonicalize_signs import CanonicalizeSigns
from r2b.ir.passes.eliminate_identities import EliminateIdentities
from r2b.ir.passes.fold_binary_scale import FoldBinaryScale
from r2b.ir.passes.fold_constants import FoldConstants
from r2b.ir.passes.infrastructure import Pass, Pipeline
from r2b.ir.passes.merge_batch_norms import MergeBatchNorms
from r2b.ir.passes.merge_common_subexpressions import MergeCommonSubexpressions
from r2b.ir.passes.recognize_add import RecognizeAdd
from r2b.ir.passes.recognize_binary_convs import RecognizeBinaryConvs
from r2b.ir.passes.recognize_channel_affine import RecognizeChannelAffine
from r2b.ir.passes.recognize_flatten import RecognizeFlatten
from r2b.ir.passes.recognize_gates import RecognizeGates
from r2b.ir.passes.recognize_global_pooling import RecognizeGlobalPooling
from r2b.ir.passes.recognize_scale import RecognizeScale
from r2b.ir.verify import require_canonical

DEFAULT_PASSES: tuple[Pass, ...] = (
    # --- what training left behind
    # before the estimators: their two soft parts may be computed twice
    MergeCommonSubexpressions(),
    # before identities go, because a detach is what tells an estimator from arithmetic; before
    # constants are folded, because folding would leave its drift in the weights
    CancelStraightThrough(),
    EliminateIdentities(),
    # before constants are folded too: a weight binarised by a comparison folds to exact signs
    CanonicalizeSigns(),
    # --- parameters
    FoldConstants(),
    # after folding, when weights are constants
    BindParameters(),
    # after signs, which need their arithmetic whole
    RecognizeChannelAffine(),
    # --- structure
    RecognizeGlobalPooling(),
    # after pooling, which reads views as they were written
    RecognizeGates(),
    RecognizeFlatten(),
    # after gates, whose views stand between a gate and its product
    RecognizeScale(),
    RecognizeAdd(),
    # --- binary
    # after signs and binding: types prove the operand, the field proves the weight
    RecognizeBinaryConvs(),
    # wants BinaryConv2d and the scale behind it as BatchNorm
    FoldBinaryScale(),
    # last: a scale that belongs to a convolution is folded there first
    MergeBatchNorms(),
)
"""Every pass, in order, with the reason for its place."""


def canonicalize(graph: Graph) -> Graph:
    """Give the canonical form of a graph the frontend made.

    Raises
    ------
    UnsupportedOpError
        Operations are left that the canonical vocabulary has no word for; all of them are named.
    """
    result = Pipeline(DEFAULT_PASSES).run(graph).graph
    require_canonical(result)
    return result
