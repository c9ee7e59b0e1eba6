"""Names and their nearest neighbours."""

import pytest

from clsgan.choices import one_of, unknown_name

TABLE = {"small": 1, "paper": 2, "none": None}


def test_a_known_name_gives_its_part_even_if_that_is_none() -> None:
    assert one_of("network", "paper", TABLE) == 2
    assert one_of("network", "none", TABLE) is None


def test_the_nearest_name_and_all_valid_ones_are_in_the_message() -> None:
    with pytest.raises(ValueError) as error:
        one_of("network", "papr", TABLE)
    assert str(error.value) == (
        "network='papr' is not known; did you mean 'paper'? Valid: ['none', 'paper', 'small']"
    )


@pytest.mark.parametrize("name", [None, 3, ["small"], {"small"}, 1.5])
def test_what_is_no_string_is_unknown(name: object) -> None:
    with pytest.raises(ValueError, match=r"network=.* is not known; .*Valid: "):
        one_of("network", name, TABLE)


def test_nothing_is_suggested_for_what_is_far_from_everything() -> None:
    assert "did you mean" not in unknown_name("network", "xyz", TABLE)
