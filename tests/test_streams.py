"""The three streams: which rows come, in what form, and that the seed settles them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from clsgan.draws import own_rows
from clsgan.streams import Batch, BatchSizes, EndlessSampler, RowStore, Streams

CPU = torch.device("cpu")
HALF = torch.tensor(127.5)
SIZES = BatchSizes(labeled=6, unlabeled=9, generated=8)


def keep(x: Tensor, generator: torch.Generator) -> Tensor:
    return x


def shake(x: Tensor, generator: torch.Generator) -> Tensor:
    shape = x.shape[1:]
    return x + own_rows(generator, len(x), lambda n: torch.rand(n, *shape, generator=generator))


def images(n: int, channels: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, 4, 5), generator=generator, dtype=torch.uint8)


def marked(n: int) -> RowStore:
    """Rows that hold their own number."""
    return RowStore(torch.arange(n).float()[:, None], torch.tensor(0.0), torch.tensor(1.0), CPU)


def make_streams(seed: int = 0, rank: int = 0, world_size: int = 1, **changes) -> Streams:
    settings = {
        "labeled": marked(20),
        "unlabeled": marked(50),
        "y": torch.arange(20) % 4,
        "n_classes": 4,
        "latent_dim": 3,
        "noise": "normal",
        "augment": keep,
        "unlabeled_augment": keep,
        "generated_augment": keep,
        "teacher_augment": keep,
    }
    return Streams(**(settings | changes), seed=seed, rank=rank, world_size=world_size)


def same(one: Batch, other: Batch) -> bool:
    pairs = [(getattr(one, name), getattr(other, name)) for name in vars(one)]
    return all(a is b or (a is not None and b is not None and torch.equal(a, b)) for a, b in pairs)


# ---- rows


@settings(deadline=None, derandomize=True, database=None)
@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 10))
def test_every_row_comes_once_a_permutation(n_rows: int, count: int, seed: int) -> None:
    sampler = EndlessSampler(n_rows, seed)
    taken = torch.cat([sampler.take(count) for _ in range(n_rows)])
    for permutation in taken.split(n_rows):
        if len(permutation) == n_rows:
            assert permutation.sort().values.tolist() == list(range(n_rows))
    assert len(taken) == n_rows * count and taken.dtype == torch.int64


def test_permutations_differ() -> None:
    sampler = EndlessSampler(50, seed=0)
    assert not torch.equal(sampler.take(50), sampler.take(50))
    assert not torch.equal(EndlessSampler(50, 0).take(50), EndlessSampler(50, 1).take(50))


@settings(deadline=None, derandomize=True, database=None)
@given(st.integers(1, 30), st.integers(1, 8), st.integers(1, 4))
def test_all_ranks_together_take_the_rows_of_one_process(n_rows, count, world_size) -> None:
    alone = EndlessSampler(n_rows, seed=3)
    ranks = [EndlessSampler(n_rows, 3, rank, world_size) for rank in range(world_size)]
    for _ in range(5):
        together = torch.stack([sampler.take(count) for sampler in ranks], dim=1).flatten()
        assert torch.equal(together, alone.take(count * world_size))


def test_a_stream_without_rows_ends_in_an_error_not_in_a_loop() -> None:
    assert len(EndlessSampler(0, seed=0).take(0)) == 0
    with pytest.raises(ValueError, match="without rows"):
        EndlessSampler(0, seed=0).take(1)


# ---- store


@pytest.mark.parametrize("channels", [1, 3])
def test_gathered_images_are_the_plain_formula(channels: int) -> None:
    rows, index = images(11, channels), torch.tensor([4, 0, 4, 10])
    given = RowStore(rows, HALF, HALF, CPU).gather(index)
    expected = torch.stack([(rows[i].float() - 127.5) / 127.5 for i in index])
    assert torch.equal(given, expected) and given.dtype == torch.float32
    assert given.min() >= -1 and given.max() <= 1


def test_gathered_rows_are_the_plain_formula() -> None:
    rows = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    offset, scale = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0, 8.0])
    given = RowStore(rows, offset, scale, CPU).gather(torch.tensor([6, 1]))
    assert torch.equal(given, (rows[[6, 1]] - offset) / scale)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_channels_last_is_kept_from_store_to_batch(dtype: torch.dtype) -> None:
    store = RowStore(images(5).to(dtype), HALF, HALF, CPU)
    assert len(store) == 5
    picked = store.gather(torch.tensor([1, 3]))
    assert picked.is_contiguous(memory_format=torch.channels_last) and not picked.is_contiguous()


def test_gathering_leaves_the_stored_rows_alone() -> None:
    rows = images(5)
    store = RowStore(rows, HALF, HALF, CPU)
    store.gather(torch.arange(5)).zero_()
    assert torch.equal(store.rows, rows)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("share", [0.5, 0.0])
def test_rows_that_do_not_fit_stay_in_pinned_memory(share: float) -> None:
    cuda = torch.device("cuda", torch.cuda.current_device())
    rows, index = images(9), torch.tensor([3, 8])
    store = RowStore(rows, HALF, HALF, cuda, device_share=share)
    assert store.rows.is_cuda is (share > 0) and store.rows.is_pinned() is (share == 0)
    expected = (rows[index].float() - 127.5) / 127.5
    torch.testing.assert_close(store.gather(index).cpu(), expected)


# ---- batches


def test_shapes_and_partners() -> None:
    batch = make_streams().next(SIZES)
    assert batch.x_lab.shape == (6, 1) and batch.x_unl.shape == batch.x_teacher.shape == (9, 1)
    assert batch.z.shape == (8, 3) and batch.y_gen.shape == (8,)
    assert torch.equal(batch.y_lab, batch.x_lab[:, 0].long() % 4)  # every row has its own label
    assert torch.equal(batch.y_gen[:6], batch.y_lab)
    assert batch.y_lab.dtype == batch.y_gen.dtype == torch.int64


def test_fewer_generated_rows_than_labeled_ones() -> None:
    batch = make_streams().next(BatchSizes(6, 0, 4))
    assert torch.equal(batch.y_gen, batch.y_lab[:4])
    assert len(make_streams().next(BatchSizes(6, 0, 0)).z) == 0


def test_no_unlabeled_rows() -> None:
    batch = make_streams(unlabeled=marked(0)).next(BatchSizes(6, 0, 8))
    assert len(batch.x_unl) == len(batch.x_teacher) == 0


def test_drawn_classes_follow_the_shares_of_the_labels() -> None:
    y = torch.tensor([0] * 12 + [1] * 6 + [3] * 2)
    streams = make_streams(y=y)
    drawn = streams.generated_classes(y[:0], 20_000)
    shares = torch.bincount(drawn, minlength=4) / 20_000
    assert shares[2] == 0
    assert shares.tolist() == pytest.approx([0.6, 0.3, 0, 0.1], abs=0.015)  # over 4 deviations


def test_noise_is_standard_normal() -> None:
    z = make_streams().noise(20_000)
    assert z.mean(0).abs().max() < 0.04 and (z.std(0) - 1).abs().max() < 0.03


def test_each_kind_of_row_gets_its_own_augmentation() -> None:
    streams = make_streams(
        augment=lambda x, g: x + 0.25,
        unlabeled_augment=lambda x, g: x + 0.75,
        teacher_augment=lambda x, g: x + 0.5,
    )
    batch = streams.next(SIZES)
    assert (batch.x_lab % 1 == 0.25).all() and (batch.x_unl % 1 == 0.75).all()
    assert (batch.x_teacher % 1 == 0.5).all()
    assert torch.equal(batch.x_teacher - 0.5, batch.x_unl - 0.75)  # the same rows


def test_labeled_rows_that_are_as_good_as_alone_have_their_own_augmentation() -> None:
    def negate(x: Tensor, generator: torch.Generator) -> Tensor:
        return -x - 1

    streams = make_streams(alone_augment=negate)
    assert (streams.next(BatchSizes(6, 9, 0)).x_lab >= 0).all()
    alone = streams.next(BatchSizes(6, 9, 0, alone=True))
    assert (alone.x_lab < 0).all() and (alone.x_unl >= 0).all()
    assert (make_streams().next(BatchSizes(6, 9, 0, alone=True)).x_lab >= 0).all()


def test_the_same_seed_gives_the_same_batches(global_randomness_untouched) -> None:
    one, other = (make_streams(seed=5, augment=shake) for _ in range(2))
    batches = [(one.next(SIZES), other.next(SIZES)) for _ in range(8)]
    assert all(same(a, b) for a, b in batches)
    assert not same(batches[0][0], batches[1][0])
    assert not same(batches[0][0], make_streams(seed=6, augment=shake).next(SIZES))


def test_two_ranks_together_train_on_the_rows_of_one_process() -> None:
    alone = make_streams().next(SIZES)
    half = BatchSizes(3, 4, 4)
    ranks = [make_streams(rank=rank, world_size=2).next(half) for rank in range(2)]
    for name in ("x_lab", "y_lab"):
        parts = torch.cat([getattr(batch, name) for batch in ranks])
        assert parts.flatten().sort().values.equal(getattr(alone, name).flatten().sort().values)
    whole = make_streams(augment=shake).next(BatchSizes(6, 8, 8))
    parts = [make_streams(augment=shake, rank=r, world_size=2).next(half) for r in range(2)]
    for name in ("x_lab", "y_lab", "x_unl", "x_teacher", "z", "y_gen"):
        for rank, part in enumerate(parts):
            assert torch.equal(getattr(part, name), getattr(whole, name)[rank::2]), name
    assert not torch.equal(ranks[0].z, ranks[1].z)
    assert not set(ranks[0].x_unl.flatten().tolist()) & set(ranks[1].x_unl.flatten().tolist())


def test_image_batches_are_channels_last() -> None:
    store = RowStore(images(20), HALF, HALF, CPU)
    batch = make_streams(labeled=store, unlabeled=store).next(SIZES)
    for x in (batch.x_lab, batch.x_unl, batch.x_teacher):
        assert x.is_contiguous(memory_format=torch.channels_last)
