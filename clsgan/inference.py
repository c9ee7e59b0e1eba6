"""Batched forward passes whose result for a row does not depend on the other rows."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from clsgan.devices import without_autocast
from clsgan.networks import level_of

CHUNK = 128

View = Callable[[Tensor], Tensor]


def _as_is(x: Tensor) -> Tensor:
    return x


def _mirrored(x: Tensor) -> Tensor:
    return x.flip(-1)


def mean_over_views(
    network: Callable[[Tensor], tuple[Tensor, Tensor]], rows: Tensor, views: Sequence[View]
) -> tuple[Tensor, Tensor]:
    """Scores and features of rows, averaged over several views of each.

    Parameters
    ----------
    network : callable
        Returns (logits [B, K], features [B, F]).
    rows : Tensor [B, ...]
    views : sequence of callable
        [B, ...] -> [B, ...], such as the entries of `VIEWS`.

    Returns
    -------
    logits : Tensor [B, K]
        Where the network has a level, moved by what it makes of all views.
    features : Tensor [B, F]
        float32 where more than one view is taken.

    Examples
    --------
    >>> rows = torch.tensor([0.0, 4.0]).reshape(1, 1, 1, 2)
    >>> left = lambda x: (x[:, 0, 0, :1], x[:, 0, 0, :1])
    >>> mean_over_views(left, rows, VIEWS["mirror"])[0]
    tensor([[2.]])
    """
    if len(views) == 1:
        return network(views[0](rows))
    scores, features = zip(*(network(view(rows)) for view in views), strict=True)
    mean_features = torch.stack([own.float() for own in features]).mean(dim=0)
    level = level_of(network) if isinstance(network, nn.Module) else None
    if level is not None:
        return level.over_views(scores), mean_features
    return torch.stack([own.float() for own in scores]).mean(dim=0), mean_features


def forward_in_chunks(
    network: nn.Module,
    get_rows: Callable[[slice], Tensor],
    n_rows: int,
    *,
    autocast: AbstractContextManager[object] | None = None,
    chunk: int = CHUNK,
    views: Sequence[View] = (_as_is,),
) -> Iterator[tuple[Tensor, Tensor]]:
    """Scores and features of many rows, in fixed-size chunks.

    The last chunk is filled up with zeros: kernels choose their algorithm by the batch size, and a
    row would otherwise get a slightly different score in a smaller batch.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode; returns (logits [B, K], features [B, F]).
    get_rows : callable
        slice -> rows [b, ...] as the network sees them, on its device.
    n_rows : int
    autocast : context manager, optional
        Entered around every forward pass.
    chunk : int
        Rows a forward pass.
    views : sequence of callable
        Scores and features are means over them; see `mean_over_views`.

    Yields
    ------
    logits : Tensor [b, K], float32
    features : Tensor [b, F], float32

    Examples
    --------
    >>> class Pair(nn.Module):
    ...     def forward(self, x):
    ...         return x, 2 * x
    >>> rows = torch.arange(3.0)[:, None]
    >>> [scores.tolist() for scores, _ in forward_in_chunks(Pair(), rows.__getitem__, 3, chunk=2)]
    [[[0.0], [1.0]], [[2.0]]]
    """
    with torch.inference_mode():
        for start in range(0, n_rows, chunk):
            rows = get_rows(slice(start, min(start + chunk, n_rows)))
            count = len(rows)
            if count < chunk:
                rows = torch.cat([rows, rows.new_zeros((chunk - count, *rows.shape[1:]))])
            if rows.dim() == 4:
                rows = rows.contiguous(memory_format=torch.channels_last)
            with autocast if autocast is not None else nullcontext():
                logits, features = mean_over_views(network, rows, views)
            yield logits[:count].float(), features[:count].float()


def predict_arrays(
    network: nn.Module,
    get_rows: Callable[[slice], Tensor],
    n_rows: int,
    pick: Callable[[Tensor, Tensor], Tensor],
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    views: Sequence[View] = (_as_is,),
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """One array over all rows of what `pick` makes of scores and features.

    Parameters
    ----------
    network, get_rows, n_rows : see `forward_in_chunks`
    pick : callable
        (logits [b, K], features [b, F]) -> Tensor [b, ...].
    autocast : callable
        Makes the context of a forward pass.
    views : see `forward_in_chunks`

    Returns
    -------
    array [n_rows, ...]
        float32 where `pick` keeps the type.

    Examples
    --------
    >>> class Pair(nn.Module):
    ...     def forward(self, x):
    ...         return x, 2 * x
    >>> rows = torch.ones(3, 1)
    >>> predict_arrays(Pair(), rows.__getitem__, 3, lambda logits, features: features).shape
    (3, 1)
    """
    with evaluating(network), autocast():
        parts = [
            pick(logits, features).cpu()
            for logits, features in forward_in_chunks(network, get_rows, n_rows, views=views)
        ]
    return np.asarray(torch.cat(parts).numpy())


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode while a block runs; then every module gets its own mode back.

    Parameters
    ----------
    network : nn.Module

    Examples
    --------
    >>> layer = nn.Dropout()
    >>> with evaluating(layer):
    ...     layer.training
    False
    >>> layer.training
    True
    """
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def generate_arrays(
    generator: nn.Module, noise: Tensor, codes: Tensor, device: str = "cpu"
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Rows that a generator makes, as networks see them.

    Parameters
    ----------
    generator : nn.Module
        (z [b, Z], y [b]) -> x [b, ...].
    noise : Tensor [N, Z]
    codes : Tensor [N], int64
        Class indices.
    device : str
        Where the generator is.

    Returns
    -------
    array [N, ...], float32

    Examples
    --------
    >>> class Shift(nn.Module):
    ...     def forward(self, z, y):
    ...         return z + y[:, None]
    >>> generate_arrays(Shift(), torch.zeros(3, 1), torch.tensor([0, 1, 2])).ravel()
    array([0., 1., 2.], dtype=float32)
    """
    generator.eval()
    with torch.inference_mode(), without_autocast():
        parts = [
            generator(noise[i : i + CHUNK].to(device), codes[i : i + CHUNK].to(device))
            for i in range(0, len(noise), CHUNK)
        ]
    return np.asarray(torch.cat(parts).float().cpu().numpy())


VIEWS: dict[str, tuple[View, ...]] = {"plain": (_as_is,), "mirror": (_as_is, _mirrored)}
