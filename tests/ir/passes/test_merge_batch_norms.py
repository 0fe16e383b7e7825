from r2b.ir.passes.merge_batch_norms import MergeBatchNorms

_TEXT = """\
x = Input(shape=(1, 1, 2, 2))
a = BatchNorm(x, gamma=[2.0], beta=[1.0], mean=[0.5], var=[4.0], eps=0.0)
b = BatchNorm(a, gamma=[-3.0], beta=[0.5], mean=[0.0], var=[1.0], eps=0.0)
o = Output(b)"""


def test_1_two_maps_in_a_row(apply):
    assert apply(MergeBatchNorms(), _TEXT).splitlines()[1:] == [
        "b = BatchNorm(x, gamma=[-3.0], beta=[-1.0], mean=[0.0], var=[1.0], eps=0.0)",
        "o = Output(b)",
    ]


def test_2_an_inner_map_with_another_user(apply):
    text = f"{_TEXT}\np = Output(a)"
    assert apply(MergeBatchNorms(), text) == text
