"""Pickles that are not run: what is read, what is refused."""

import pickle
import struct
import warnings

import numpy as np
import pytest

from r2b.train.data.errors import DataError
from r2b.train.data.plain_pickles import read_table
from tests.train.data.writers import cifar100_part, python2_pickle

PART = cifar100_part(5, seed=3)


def check_part(found):
    assert found.keys() == PART.keys()
    for key, value in PART.items():
        np.testing.assert_array_equal(found[key], value)
    assert found[b"data"].dtype == np.uint8


def test_the_writer_writes_what_numpy_reads():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # NumPy 2 moved the function
        check_part(pickle.loads(python2_pickle(PART), encoding="bytes"))


def test_as_python_2_wrote_it():
    check_part(read_table(python2_pickle(PART)))


@pytest.mark.parametrize("protocol", range(5))
def test_as_python_3_writes_it(protocol):
    check_part(read_table(pickle.dumps(PART, protocol)))


def test_columns_first():
    array = np.asfortranarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    found = read_table(pickle.dumps({b"data": array}, 2))
    np.testing.assert_array_equal(found[b"data"], array)


class Runs:
    """Runs a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


def touch(path):
    return Runs(eval, f"__import__('pathlib').Path({str(path)!r}).touch()")


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_nothing_is_run(tmp_path, protocol):
    marker = tmp_path / "marker"
    data = pickle.dumps({b"data": touch(marker)}, protocol)
    with pytest.raises(DataError) as caught:
        read_table(data)
    home = "builtins" if protocol >= 3 else "__builtin__"
    assert str(caught.value) == (
        f"the pickle holds the name {home}.eval, which no data set needs; nothing in it was run"
    )
    assert not marker.exists()
    pickle.loads(data)
    assert marker.exists()  # it would have


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
BYTES = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
REFUSED = {
    "a call of numpy.ndarray": b"cnumpy\nndarray\n(K\x10tR",
    "a change of a function": b"c_codecs\nencode\n(N}U\x01aK\x01sU\x01btb",
    "a text in another encoding": b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR",
    "an array that is not of bytes (its type is 'O')": b"cnumpy\ndtype\nU\x01OK\x00K\x01\x87R",
    "an array that is not of bytes": ARRAY + b"(K\x01K\x01\x85" + BYTES + b"\x89]tb",
    "the name os.system": b"cos\nsystem\n",
    "the name numpy.load": b"cnumpy\nload\n",
    "the name builtins.getattr": b"\x8c\x08builtins\x8c\x07getattr\x93",
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what):
    data = b"\x80\x02}U\x04data" + REFUSED[what] + b"s."
    with pytest.raises(DataError) as caught:
        read_table(data)
    assert str(caught.value) == (
        f"the pickle holds {what}, which no data set needs; nothing in it was run"
    )


def test_a_memo_that_would_fill_the_memory():
    with pytest.raises(DataError) as caught:
        read_table(b"\x80\x02}r" + struct.pack("<I", 2**31 - 1) + b".")
    assert str(caught.value) == (
        "the pickle holds more objects than bytes, which no data set needs; nothing in it was run"
    )


DAMAGED = {
    "nothing": b"",
    "no pickle": b"no pickle",
    "cut": python2_pickle(PART)[:-400],
    "no stop": python2_pickle(PART)[:-1],
    "shape": b"\x80\x02}U\x04data" + ARRAY + b"(K\x01K\x07\x85" + BYTES + b"\x89U\x02abtbs.",
    "persistent": b"\x80\x02}U\x04dataU\x01aQs.",
    "class": b"\x80\x02}U\x04datacnumpy\nndarray\n)\x81s.",
    "key": b"\x80\x02}]K\x01s.",
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged(case):
    with pytest.raises(DataError, match=r"^the pickle is truncated or damaged$"):
        read_table(DAMAGED[case])


def test_every_cut_is_noticed():
    data = python2_pickle(cifar100_part(1, seed=4))
    step = 97
    for length in range(0, len(data), step):
        with pytest.raises(DataError, match=r"^the pickle is truncated or damaged$"):
            read_table(data[:length])


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([1], "the pickle holds a list, not a dict"),
        ({1: 2}, "the pickle's dict has a int as a key, not a text"),
    ],
)
def test_no_table(content, text):
    with pytest.raises(DataError) as caught:
        read_table(pickle.dumps(content, 2))
    assert str(caught.value) == text


def test_flipped_bytes_raise_nothing_else():
    data = bytearray(python2_pickle(cifar100_part(1, seed=5)))
    header = data.index(b"fine_labels")
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        place = int(random.choice([*range(200), *range(header - 40, len(data))]))
        damaged = bytearray(data)
        damaged[place] ^= int(random.integers(1, 256))
        try:
            read_table(bytes(damaged))
        except DataError:
            refused += 1
    assert refused > 30


def test_pickles_of_other_versions_are_really_different():
    assert b"_codecs" in pickle.dumps(PART, 2)
    assert b"_codecs" not in python2_pickle(PART)
