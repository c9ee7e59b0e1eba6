"""Rows of each stream in a step, and how they follow what is known of the pool."""

import pytest

from clsgan.objectives import OBJECTIVES
from clsgan.settings import Settings

SETTINGS = Settings(OBJECTIVES["default"], batch_size=256, unlabeled_share=0.5)


@pytest.mark.parametrize(
    ("known_share", "unlabeled"),
    [(1.0, 128), (0.5, 128), (0.36, 128), (0.25, 64), (0.12, 32), (0.05, 16), (0.0, 16)],
)
def test_labeled_rows_take_the_place_of_unlabeled_ones_that_are_of_no_class(known_share, unlabeled):
    sizes = SETTINGS.sizes(1.0, has_unlabeled=True, world_size=1, known_share=known_share)
    assert (sizes.labeled, sizes.unlabeled) == (256 - unlabeled, unlabeled)
    assert sizes.alone == (unlabeled < 128)


@pytest.mark.parametrize("world_size", [1, 2, 4, 8])
def test_processes_have_the_rows_of_one_between_them(world_size):
    for known_share in (0.4, 0.2, 0.1, 0.0):
        whole = SETTINGS.sizes(1.0, True, 1, known_share)
        own = SETTINGS.sizes(1.0, True, world_size, known_share)
        assert own.labeled * world_size == whole.labeled
        assert own.unlabeled * world_size == whole.unlabeled


def test_no_process_is_left_without_its_share():
    odd = Settings(OBJECTIVES["default"], batch_size=12, unlabeled_share=0.5)
    own = odd.sizes(1.0, has_unlabeled=True, world_size=3, known_share=0.0)
    assert (own.labeled, own.unlabeled) == (3, 1)  # 6 of 12, halved once: 3 for 3 processes


def test_without_unlabeled_rows_there_is_nothing_to_halve():
    sizes = SETTINGS.sizes(1.0, has_unlabeled=False, world_size=1, known_share=0.0)
    assert sizes.labeled == 256 and not sizes.alone
