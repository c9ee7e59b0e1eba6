"""Random numbers for the rows of a batch that several processes share."""

from collections.abc import Callable

import torch
from torch import Tensor


class SharedGenerator(torch.Generator):
    """A generator that draws for the rows of all processes, of which each keeps its own.

    Every process has the same state at every time, and row i of the whole batch gets the same
    numbers whatever the number of processes: as in one process, and any process's state is the
    state of all.

    Parameters
    ----------
    device : torch.device
    rank, world_size : int
        This process, and the number of processes.

    Examples
    --------
    >>> pair = [SharedGenerator(torch.device("cpu"), rank, 2) for rank in range(2)]
    >>> parts = [own_rows(g.manual_seed(0), 2, lambda n: torch.rand(n, generator=g)) for g in pair]
    >>> together = torch.rand(4, generator=torch.Generator().manual_seed(0))
    >>> torch.equal(torch.stack(parts, dim=1).ravel(), together)
    True
    """

    rank: int
    world_size: int

    def __new__(cls, device: torch.device, rank: int = 0, world_size: int = 1) -> "SharedGenerator":
        made = super().__new__(cls, device)  # type: ignore[call-arg]
        made.rank, made.world_size = rank, world_size
        return made


def own_rows(generator: torch.Generator, count: int, draw: Callable[[int], Tensor]) -> Tensor:
    """Draws for the `count` rows of this process: every so many-th of those for all rows.

    Parameters
    ----------
    generator : torch.Generator
        That of one process draws for its rows alone.
    count : int
    draw : callable
        Number of rows -> Tensor [rows, ...], drawn from `generator`.

    Returns
    -------
    Tensor [count, ...]

    Examples
    --------
    >>> own_rows(torch.Generator(), 3, torch.arange)
    tensor([0, 1, 2])
    """
    if not isinstance(generator, SharedGenerator) or generator.world_size == 1:
        return draw(count)
    return draw(count * generator.world_size)[generator.rank :: generator.world_size]


def uniform_rows(x: Tensor, generator: torch.Generator, low: float, high: float) -> Tensor:
    """One draw from U(low, high) for each row that this process has of a batch.

    Parameters
    ----------
    x : Tensor [B, ...]
        The rows; `generator` is on their device.
    generator : torch.Generator
    low, high : float

    Returns
    -------
    Tensor [B], float32, on the device of x

    Examples
    --------
    >>> drawn = uniform_rows(torch.zeros(100, 2), torch.Generator(), -1.0, 3.0)
    >>> drawn.shape, bool((drawn >= -1).all() and (drawn < 3).all())
    (torch.Size([100]), True)
    """
    draws = own_rows(
        generator,
        len(x),
        lambda n: torch.rand(n, generator=generator, device=x.device, dtype=torch.float32),
    )
    return low + (high - low) * draws
