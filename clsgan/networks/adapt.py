"""Networks that a user brings: checked early, copied, never changed."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from clsgan.networks.level import Level
from clsgan.networks.shapes import check_input_shape, full_precision


class GivenLossNetwork(nn.Module):
    """A module of the user as a loss network.

    Where it returns logits alone, the logits are also the features. A `Level` moves the logits of a
    row alike.

    Parameters
    ----------
    module : nn.Module
        Its forward takes x [B, *input_shape] and returns logits [B, K], or logits and features
        [B, F]. It is copied.
    input_shape : tuple of int
    n_classes : int

    Attributes
    ----------
    num_features : int

    Raises
    ------
    ValueError
        If it fails on two inputs, or returns other shapes.

    Examples
    --------
    >>> network = GivenLossNetwork(nn.Linear(4, 3), (4,), 3)
    >>> logits, features = network(torch.zeros(5, 4))
    >>> logits.shape, features.shape
    (torch.Size([5, 3]), torch.Size([5, 3]))
    """

    def __init__(self, module: nn.Module, input_shape: tuple[int, ...], n_classes: int) -> None:
        super().__init__()
        self.module = copy.deepcopy(module)
        shape = check_input_shape(input_shape)
        x = torch.linspace(-1, 1, 2 * torch.Size(shape).numel()).view(2, *shape)
        with _trial(self.module, f"loss network on an input of shape {list(x.shape)}"):
            output = self.module(x.to(_device_of(self.module)))
        self.num_features = _check_output(output, n_classes)
        self.level: Level | None = Level(self.num_features)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and features.

        Parameters
        ----------
        x : Tensor [B, *input_shape]

        Returns
        -------
        logits : Tensor [B, K]
        features : Tensor [B, F]
        """
        output = self.module(x)
        logits, features = (output, output) if isinstance(output, Tensor) else output
        logits, features = full_precision(logits), full_precision(features)
        if self.level is not None:
            logits = logits + self.level(features, logits)
        return logits, features


def _check_output(output: object, n_classes: int) -> int:
    """Number of features in what a loss network returned for a batch of 2."""
    pair = (output, output) if isinstance(output, Tensor) else output
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise ValueError(
            f"the given loss network must return logits or (logits, features), "
            f"not {type(output).__name__}"
        )
    logits, features = pair
    if not isinstance(logits, Tensor) or tuple(logits.shape) != (2, n_classes):
        raise ValueError(
            f"the given loss network must return logits of shape [2, {n_classes}] for a batch "
            f"of 2 and {n_classes} classes; it returned {_describe(logits)}"
        )
    if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != 2:
        raise ValueError(
            f"the features of the given loss network must have shape [2, F] for a batch of 2; "
            f"it returned {_describe(features)}"
        )
    return int(features.shape[1])


def given_generator(
    module: nn.Module, input_shape: tuple[int, ...], n_classes: int, latent_dim: int
) -> nn.Module:
    """A checked copy of a user's generator.

    Parameters
    ----------
    module : nn.Module
        Its forward takes z [B, Z] and y [B] int64 and returns x [B, *input_shape]: in [-1, 1]
        for images, unbounded for rows. It is copied.
    input_shape : tuple of int
    n_classes : int
    latent_dim : int

    Returns
    -------
    nn.Module

    Raises
    ------
    ValueError
        If it fails on two inputs, or returns another shape, or images outside of [-1, 1].

    Examples
    --------
    >>> class Lines(nn.Module):
    ...     def forward(self, z, y):
    ...         return z[:, :2] + y[:, None]
    >>> given_generator(Lines(), (2,), 3, 8)(torch.zeros(1, 8), torch.tensor([2]))
    tensor([[2., 2.]])
    """
    generator = copy.deepcopy(module)
    shape = check_input_shape(input_shape)
    device = _device_of(generator)
    z = torch.linspace(-1, 1, 2 * latent_dim, device=device).view(2, latent_dim)
    y = torch.tensor([0, n_classes - 1], device=device)
    with _trial(generator, f"generator on z of shape {list(z.shape)} and y of shape [2]"):
        x = generator(z, y)
    if not isinstance(x, Tensor) or tuple(x.shape) != (2, *shape):
        raise ValueError(
            f"the given generator must return [2, {', '.join(map(str, shape))}] for a batch "
            f"of 2; it returned {_describe(x)}"
        )
    if len(shape) == 3 and not bool((x.abs() <= 1.001).all()):
        raise ValueError(
            "the given generator must return images in [-1, 1] (end it with nn.Tanh()); it "
            f"returned values from {x.min():.3g} to {x.max():.3g}"
        )
    return generator


@contextmanager
def _trial(module: nn.Module, what: str) -> Iterator[None]:
    """A forward pass in eval mode that leaves modes and random state as they were."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        device = _device_of(module)
        with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    # Code of the user runs here: whatever it raises is reported as what it is, a bad argument.
    except Exception as error:
        raise ValueError(f"the given {what} fails: {type(error).__name__}: {error}") from error
    finally:
        for part, training in modes:
            part.training = training


def _device_of(module: nn.Module) -> torch.device:
    parameter = next(module.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {list(value.shape)}"
    return f"a {type(value).__name__}"
