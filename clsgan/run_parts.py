"""The parts of a run, made from its data: networks to train, and streams of rows."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from clsgan.augment import build_augment
from clsgan.class_balance import class_shares
from clsgan.defaults import (
    choose_augment,
    choose_unlabeled_augment,
    flips,
)
from clsgan.networks import build_generator, build_loss_network, level_of, remove_level, whiten_stem
from clsgan.objectives import UNLABELED
from clsgan.pools.store import PoolStore
from clsgan.settings import Settings
from clsgan.streams import RowStore, Streams
from clsgan.training_data import LOOKED_AT, TrainingData

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Array = npt.NDArray[Any]
WHITENING_ROWS = 5000
WHITENING_VALUES = 2**25


def make_streams(
    fabric: "Fabric",
    data: TrainingData,
    train_rows: npt.NDArray[np.int64],
    settings: Settings,
    params: Mapping[str, Any],
    seed: int,
) -> Streams:
    """The three streams of a run.

    Parameters
    ----------
    fabric : Fabric
    data : TrainingData
    train_rows : array [n], int64
        Which of the labeled rows to train on.
    settings : Settings
    params : mapping
        The estimator's parameters.
    seed : int

    Returns
    -------
    Streams

    Examples
    --------
    See `clsgan.fitting.fit_networks`.
    """
    use_unlabeled = settings.objective.unlabeled != "none"
    augment, generated_augment = choose_augment(
        params, data.spec, use_unlabeled and len(data.unlabeled) > 0
    )
    alone_augment, _ = choose_augment(params, data.spec)
    unlabeled_augment = choose_unlabeled_augment(params, data.spec, augment)
    asked = UNLABELED[settings.objective.unlabeled]
    weak_teacher = asked is not None and asked.teacher_view == "weak" and data.spec.is_image
    flip = flips(params["flip"], data.spec)
    teacher = build_augment("weak" if weak_teacher else "none", data.spec.shape, flip)
    empty = row_store(data.labeled[:0], data, fabric.device)
    return Streams(
        labeled=row_store(data.labeled[train_rows], data, fabric.device),
        unlabeled=_pool_store(data, fabric, seed) if use_unlabeled else empty,
        y=torch.from_numpy(data.codes[train_rows]),
        n_classes=len(data.classes),
        latent_dim=settings.latent_dim,
        noise=settings.noise,
        augment=augment,
        unlabeled_augment=unlabeled_augment,
        generated_augment=generated_augment,
        teacher_augment=teacher,
        seed=seed,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        classes=class_shares(params, data.classes, data.codes[train_rows]),
        keep_plain=wants_level(settings),
        alone_augment=alone_augment,
    )


def build_networks(
    data: TrainingData,
    settings: Settings,
    params: Mapping[str, Any],
    seed: int,
    options: Mapping[str, Any] | None = None,
) -> tuple[nn.Module, nn.Module | None]:
    """New networks for the data; the stem of the loss network is fitted to its images.

    Parameters
    ----------
    data : TrainingData
    settings : Settings
    params : mapping
        The estimator's parameters.
    seed : int
    options : mapping, optional
        Arguments of the loss network (`clsgan.defaults.choose_network_options`).

    Returns
    -------
    (loss_network, generator)
        The generator is None where no rows are to be generated.

    Examples
    --------
    See `clsgan.fitting.fit_networks`.
    """
    shape, n_classes = data.spec.shape, len(data.classes)
    network = build_loss_network(params["loss_network"], shape, n_classes, options, seed=seed)
    if data.spec.is_image:
        whiten_stem(network, _some_images(data, seed))
    if not settings.generated_batch_size:
        return network, None
    generator = build_generator(
        params["generator"],
        shape,
        n_classes,
        settings.latent_dim,
        params["generator_options"],
        seed=seed + 1,
    )
    return network, generator


def fit_level(network: nn.Module, settings: Settings) -> None:
    """Take the level off a loss network of which the generated rows train more than the level.

    Parameters
    ----------
    network : nn.Module
        The loss network, changed in place.
    settings : Settings

    Examples
    --------
    See `clsgan.fitting.fit_networks`.
    """
    if not wants_level(settings):
        remove_level(network)


def wants_level(settings: Settings) -> bool:
    """Whether the margins of a run train the level alone.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    bool

    Examples
    --------
    >>> from clsgan.objectives import OBJECTIVES
    >>> wants_level(Settings(OBJECTIVES["default"])), wants_level(Settings(OBJECTIVES["paper"]))
    (True, False)
    """
    objective = settings.objective
    return objective.system is None and objective.margins_train == "level"


def check_filter(network: nn.Module, settings: Settings) -> None:
    """Refuse to weigh unlabeled rows by a probability of "none" that nothing trains.

    Parameters
    ----------
    network : nn.Module
        The loss network.
    settings : Settings

    Raises
    ------
    ValueError

    Examples
    --------
    See `clsgan.fitting.fit_networks`.
    """
    objective = settings.objective
    if objective.unlabeled_filter is None or objective.unlabeled == "none":
        return
    if UNLABELED[objective.unlabeled] is None:
        raise ValueError(
            f"unlabeled_filter={objective.unlabeled_filter!r} weighs what a teacher asks of "
            f"unlabeled rows; unlabeled={objective.unlabeled!r} has none. Choose 'soft_labels', "
            "'fixmatch', 'pseudo_label' or 'mean_teacher'"
        )
    on_level = objective.margins_train == "level" and objective.outlier_weight > 0
    if not on_level or level_of(network) is None:
        raise ValueError(
            f"unlabeled_filter={objective.unlabeled_filter!r} needs margins_train='level', an "
            "outlier_weight above 0, and a loss network with a level (clsgan.networks.Level), "
            "which learns to tell known from novel rows"
        )


def check_mixed(network: nn.Module, settings: Settings) -> None:
    """Refuse to mix images where the network has no level for the margins to train alone.

    Parameters
    ----------
    network : nn.Module
        The loss network.
    settings : Settings

    Raises
    ------
    ValueError

    Examples
    --------
    See `clsgan.fitting.fit_networks`.
    """
    share = settings.objective.cutmix
    if share and settings.generated_batch_size and level_of(network) is None:
        raise ValueError(
            f"cutmix={share} needs a loss network with a level (clsgan.networks.Level), or "
            "generator=None: margins that train the whole network take images of two classes for "
            "images of one"
        )


def _some_images(data: TrainingData, seed: int) -> Tensor:
    """Images of the larger pool, as networks see them, to fit the stem to."""
    pool = data.unlabeled if len(data.unlabeled) > len(data.labeled) else data.labeled
    count = max(min(WHITENING_ROWS, WHITENING_VALUES // math.prod(data.spec.shape)), 1)
    if not isinstance(pool, np.ndarray):
        return torch.from_numpy(data.units.standardise(pool.some(min(count, LOOKED_AT))))
    rows = np.random.default_rng(seed).permutation(len(pool))[:count]
    return torch.from_numpy(data.units.standardise(pool[np.sort(rows)]))


def row_store(rows: Array, data: TrainingData, device: torch.device) -> RowStore:
    """Rows in memory, from which batches are gathered in standard units.

    Parameters
    ----------
    rows : array [N, ...]
        Of the data: labeled or unlabeled ones.
    data : TrainingData
    device : torch.device

    Returns
    -------
    RowStore

    Examples
    --------
    See `make_streams`.
    """
    if data.spec.is_image:
        offset, scale = float(data.units.offset), float(data.units.scale)
        return RowStore(_tensor(rows), torch.tensor(offset), torch.tensor(scale), device)
    rows = data.units.standardise(rows)
    return RowStore(_tensor(rows), torch.tensor(0.0), torch.tensor(1.0), device)


def _pool_store(data: TrainingData, fabric: "Fabric", seed: int) -> RowStore | PoolStore:
    if isinstance(data.unlabeled, np.ndarray):
        return row_store(data.unlabeled, data, fabric.device)
    process = (fabric.global_rank, fabric.world_size)
    return PoolStore(data.unlabeled, data.units, fabric.device, seed + 1, *process)


def _tensor(rows: Array) -> Tensor:
    return torch.from_numpy(rows if rows.flags.writeable else rows.copy())
