from r2b.ir.passes.recognize_channel_means import RecognizeChannelMeans

_HEAD = "x = Input(shape=(1, 2, 4, 4))\n"
_CONV = "Conv2d(x, weight=[[[[0.5]], [[0.5]]]])"


def test_1_the_dimension_kept(apply):
    text = f"{_HEAD}y = Mean(x, axes=(1,), keepdim=True)\no = Output(y)"
    assert f"y = {_CONV}" in apply(RecognizeChannelMeans(), text)


def test_2_the_dimension_dropped_and_put_back(apply):
    text = f"{_HEAD}m = Mean(x, axes=(1,))\ny = Reshape(m, shape=(1, 1, 4, 4))\no = Output(y)"
    assert apply(RecognizeChannelMeans(), text).splitlines()[1:] == [
        f"m_map = {_CONV}",
        "y = Reshape(m_map, shape=(1, 1, 4, 4))",
        "o = Output(y)",
    ]


def test_an_average_over_rows_stays(apply):
    text = f"{_HEAD}y = Mean(x, axes=(2,), keepdim=True)\no = Output(y)"
    assert "y = Mean(x, axes=(2,), keepdim=True)" in apply(RecognizeChannelMeans(), text)
