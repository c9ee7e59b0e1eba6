"""Networks by name."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from torch import nn

from clsgan.choices import unknown_name
from clsgan.devices import seeded
from clsgan.networks.adapt import GivenLossNetwork, given_generator
from clsgan.networks.generators import MLPGenerator, PaperGenerator, SmallGenerator
from clsgan.networks.loss_networks import MLPLossNetwork, PaperLossNetwork, SmallLossNetwork
from clsgan.networks.shapes import check_input_shape
from clsgan.networks.timm_backbone import TimmLossNetwork
from clsgan.networks.wide_resnet import WideResNet

Factory = Callable[..., nn.Module]
Options = Mapping[str, object]


def build_loss_network(
    name: str | nn.Module,
    input_shape: Sequence[int],
    n_classes: int,
    options: Options | None = None,
    *,
    seed: int = 0,
    try_out: bool = True,
) -> nn.Module:
    """Loss network, on the CPU, in training mode.

    Parameters
    ----------
    name : str or nn.Module
        A key of `LOSS_NETWORKS`; "timm:" and the name of a timm model; "auto" ("mlp" for rows,
        "small" for images); or a module x -> logits, or (logits, features), which is copied.
    input_shape : sequence of int
        (C, H, W) of an image or (D,) of a row.
    n_classes : int
    options : mapping, optional
        Arguments of the network named: `widths` of "small", `hidden` of "mlp", `depth` and
        `widen` of "wide_resnet_28_2", `pretrained` of timm's, `norm` of those of ours.
    seed : int, default=0
        Of the first weights. The global random state is left as it was.
    try_out : bool, default=True
        Whether a timm model makes a pass of two images of the shape, to see that it can.

    Returns
    -------
    nn.Module
        Its forward takes x [B, *input_shape] and returns logits [B, K] and features [B, F],
        at least float32; F is its `num_features`.

    Raises
    ------
    ValueError
        If a name, an option or a shape is not valid, or a given module does not fit.
    TypeError
        If name is neither a string nor a module.
    ImportError
        If a timm model is asked for and timm is not installed.

    Examples
    --------
    >>> import torch
    >>> network = build_loss_network("auto", (3, 32, 32), 10, {"widths": (32, 64, 128)})
    >>> logits, features = network(torch.zeros(4, 3, 32, 32))
    >>> logits.shape, features.shape, network.num_features
    (torch.Size([4, 10]), torch.Size([4, 128]), 128)
    """
    shape = _checked("loss_network", name, input_shape, n_classes)
    if isinstance(name, nn.Module):
        _check_options("a given module", None, options)
        with seeded(seed):  # of its level
            return GivenLossNetwork(name, shape, n_classes)
    if name.startswith("timm:"):
        factory: Factory = partial(TimmLossNetwork, name.removeprefix("timm:"))
    else:
        factory = _factory("loss_network", name, LOSS_NETWORKS, shape, ["auto", "timm:<model>"])
    _check_options(name, factory, options)
    with seeded(seed):
        network = factory(shape, n_classes, **(options or {}))
        if try_out and isinstance(network, TimmLossNetwork):
            network.try_out(shape)
    return network


def build_generator(
    name: str | nn.Module,
    input_shape: Sequence[int],
    n_classes: int,
    latent_dim: int,
    options: Options | None = None,
    *,
    seed: int = 0,
) -> nn.Module:
    """Generator, on the CPU, in training mode.

    Parameters
    ----------
    name : str or nn.Module
        A key of `GENERATORS`; "auto" ("mlp" for rows, "small" for images); or a module
        (z, y) -> x, which is copied.
    input_shape : sequence of int
        (C, H, W) of an image or (D,) of a row.
    n_classes : int
    latent_dim : int
    options : mapping, optional
        Arguments of the network named: `widths` of "small", `hidden` of "mlp", `width` of
        "paper", `norm` of the last two.
    seed : int, default=0
        Of the first weights. The global random state is left as it was.

    Returns
    -------
    nn.Module
        Its forward takes z [B, Z] and y [B] int64 and returns x [B, *input_shape], at least
        float32: in [-1, 1] for images, unbounded for rows.

    Raises
    ------
    ValueError
        If a name, an option or a shape is not valid, or a given module does not fit.
    TypeError
        If name is neither a string nor a module.

    Examples
    --------
    >>> import torch
    >>> generator = build_generator("auto", (3, 32, 32), 10, latent_dim=64)
    >>> generator(torch.zeros(4, 64), torch.tensor([0, 1, 2, 3])).shape
    torch.Size([4, 3, 32, 32])
    """
    shape = _checked("generator", name, input_shape, n_classes)
    if latent_dim < 1:
        raise ValueError(f"latent_dim={latent_dim} is not valid; give at least 1")
    if isinstance(name, nn.Module):
        _check_options("a given module", None, options)
        return given_generator(name, shape, n_classes, latent_dim)
    factory = _factory("generator", name, GENERATORS, shape, ["auto"])
    _check_options(name, factory, options)
    with seeded(seed):
        return factory(shape, n_classes, latent_dim, **(options or {}))


def _checked(
    parameter: str, name: object, input_shape: Sequence[int], n_classes: int
) -> tuple[int, ...]:
    """The input shape, once all that was given is of a valid kind."""
    if not isinstance(name, str | nn.Module):
        raise TypeError(
            f"{parameter} must be a name or a torch.nn.Module, not {type(name).__name__}"
        )
    if n_classes < 1:
        raise ValueError(f"n_classes={n_classes} is not valid; give at least 1")
    return check_input_shape(input_shape)


def _factory(
    parameter: str,
    name: str,
    table: Mapping[str, Factory],
    shape: tuple[int, ...],
    special: list[str],
) -> Factory:
    """What builds the network of this name; "auto" goes by the shape."""
    if name == "auto":
        name = "mlp" if len(shape) == 1 else "small"
    if name not in table:
        raise ValueError(unknown_name(parameter, name, [*table, *special]))
    return table[name]


def _check_options(name: str, factory: Factory | None, options: Options | None) -> None:
    """Refuse an option that is not a keyword-only argument of the factory."""
    valid: list[str] = []
    if factory is not None:
        parameters = inspect.signature(factory).parameters.values()
        valid = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    for option in options or {}:
        if option not in valid:
            raise ValueError(unknown_name(f"option of {name}", option, valid))


LOSS_NETWORKS: dict[str, Factory] = {
    "small": SmallLossNetwork,
    "paper": PaperLossNetwork,
    "wide_resnet_28_2": WideResNet,
    "mlp": MLPLossNetwork,
}

GENERATORS: dict[str, Factory] = {
    "small": SmallGenerator,
    "paper": PaperGenerator,
    "mlp": MLPGenerator,
}
