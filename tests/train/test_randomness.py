"""Random numbers without a state: the same place gives the same numbers, another place others."""

import hashlib

import torch

from r2b.train.randomness import batches, derive, generator, order


def test_a_seed_is_that_of_its_definition():
    digest = hashlib.sha256(b"7/augment/1/2/3").digest()
    assert derive(7, "augment", 1, 2, 3) == int.from_bytes(digest[:8], "big") >> 1


def test_every_place_has_numbers_of_its_own():
    seeds = {
        derive(seed, purpose, phase, epoch)
        for seed in range(3)
        for purpose in ("order", "augment")
        for phase in range(3)
        for epoch in range(12)
    }
    assert len(seeds) == 3 * 2 * 3 * 12
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_nothing_depends_on_the_global_generator():
    torch.manual_seed(0)
    first = torch.rand(3, generator=generator(1, "x"))
    before = torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(first, torch.rand(3, generator=generator(1, "x")))
    torch.manual_seed(0)
    order(0, 1, 2, 50)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_epoch_takes_every_frame_at_most_once_in_full_batches():
    plan = batches(0, 1, 2, 50, 8)
    places = [place for batch in plan for place in batch]
    assert [len(batch) for batch in plan] == [8] * 6
    assert len(set(places)) == 48
    assert places == order(0, 1, 2, 50).tolist()[:48]


def test_fewer_frames_than_a_batch_are_one_batch():
    assert sorted(*batches(0, 0, 0, 5, 8)) == list(range(5))


def test_devices_share_each_batch():
    whole = batches(3, 0, 1, 32, 8)
    first, second = (batches(3, 0, 1, 32, 8, rank, 2) for rank in (0, 1))
    for batch, one, other in zip(whole, first, second, strict=True):
        assert len(one) == len(other) == 4
        assert sorted(one + other) == sorted(batch)
