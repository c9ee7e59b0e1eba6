"""From checked data to trained networks: builds the parts of a run and hands them to the loop."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from clsgan.augment import build_augment
from clsgan.checkpoints.run import Checkpoints, Diverged, open_checkpoints
from clsgan.checkpoints.snapshot import Sitting
from clsgan.class_balance import class_shares
from clsgan.defaults import (
    choose_augment,
    choose_network_options,
    choose_unlabeled_augment,
    choose_views,
    default_steps,
    flips,
)
from clsgan.devices import (
    choose_device,
    choose_precision,
    flushed_denormals,
    make_fabric,
    own_modes,
    seeded,
)
from clsgan.inference import VIEWS, View, predict_arrays
from clsgan.lipschitz import fold_spectral_norm, spectral_norm
from clsgan.memory import kept_memory
from clsgan.meter import Meter
from clsgan.networks import build_generator, build_loss_network, level_of, remove_level, whiten_stem
from clsgan.objectives import UNLABELED
from clsgan.pools.store import PoolStore
from clsgan.processes import agreed_seconds, average_buffers
from clsgan.runlog import RunLog
from clsgan.schedules import Budget
from clsgan.settings import Settings
from clsgan.splits import split_validation
from clsgan.step_check import check_finite
from clsgan.streams import RowStore, Streams
from clsgan.train_state import TrainState, prepare_state
from clsgan.trainer import explained_out_of_memory, train
from clsgan.training_data import LOOKED_AT, TrainingData

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Array = npt.NDArray[Any]
WHITENING_ROWS = 5000
WHITENING_VALUES = 2**25


@dataclass
class Fitted:
    """What a run leaves behind.

    Attributes
    ----------
    loss_network, generator : nn.Module
        With averaged weights, in evaluation mode; the generator may be None.
    history : list of dict
    n_features : int
        F, the width of the loss network's features.
    n_steps, n_rows_seen : int
    n_skipped : int
        Steps that were not taken, since a loss or a gradient was not finite.
    seconds, seconds_before : float
        Of the steps alone; of earlier sittings of the run.
    precision, device_type : str
    validation_error : float or None
    interrupted : bool
        Whether Ctrl-C or SIGTERM ended the run.

    Examples
    --------
    >>> sorted(Fitted.__dataclass_fields__)[:2]
    ['device_type', 'generator']
    """

    loss_network: nn.Module
    generator: nn.Module | None
    n_features: int
    history: list[dict[str, Any]]
    n_steps: int
    n_rows_seen: int
    n_skipped: int
    seconds: float
    seconds_before: float
    precision: str
    device_type: str
    validation_error: float | None
    interrupted: bool


def fit_networks(
    data: TrainingData,
    settings: Settings,
    params: Mapping[str, Any],
    seed: int,
    started: float,
    previous: tuple[nn.Module, nn.Module | None] | None = None,
) -> Fitted:
    """Train a loss network and a generator.

    Parameters
    ----------
    data : TrainingData
    settings : Settings
    params : mapping
        The estimator's parameters.
    seed : int
        Of everything random; torch's global state is left as it was found.
    started : float
        `time.perf_counter()` when the budget began to run.
    previous : (nn.Module, nn.Module or None), optional
        Networks to go on from.

    Returns
    -------
    Fitted

    Raises
    ------
    ValueError, FloatingPointError, MemoryError
        As their parts raise them.

    Examples
    --------
    See `CLSGANClassifier.fit`, which calls it.
    """
    device_type = choose_device(params["accelerator"])
    precision = choose_precision(params["precision"], device_type, data.spec.is_image)
    fabric = make_fabric(device_type, precision)
    use_unlabeled = settings.objective.unlabeled != "none" and len(data.unlabeled) > 0
    settings.check_shares(fabric.world_size, use_unlabeled)
    budget = _budget(data, settings, params, started, agreed_seconds(fabric))
    checkpoints = open_checkpoints(params, data, device_type, precision)
    with checkpoints or nullcontext():
        seed = int(fabric.broadcast(seed if checkpoints is None else checkpoints.seed(seed)))
        with (
            flushed_denormals(),
            seeded(seed, device_type),
            own_modes(),
            kept_memory(device_type),
            explained_out_of_memory(settings),
        ):
            return _fit(fabric, data, settings, params, budget, seed, checkpoints, previous)


def _fit(
    fabric: "Fabric",
    data: TrainingData,
    settings: Settings,
    params: Mapping[str, Any],
    budget: Budget,
    seed: int,
    checkpoints: Checkpoints | None,
    previous: tuple[nn.Module, nn.Module | None] | None,
) -> Fitted:
    """Build the parts of a run, train, and put together what it leaves behind."""
    rows = None if checkpoints is None else checkpoints.rows()
    train_rows, held_out = rows or _cut_validation(data, params["validation_fraction"], seed)
    networks = previous or _build_networks(data, settings, params, seed)
    if settings.objective.system is not None or settings.objective.margins_train == "network":
        remove_level(networks[0])
    _check_filter(networks[0], settings)
    if settings.spectral_norm:
        spectral_norm(networks[0])
    streams = make_streams(fabric, data, train_rows, settings, params, seed)
    state = prepare_state(fabric, *networks, settings)
    views = VIEWS[choose_views(params, data.spec)]
    validate = _validator(fabric, data, held_out, views, budget) if len(held_out) else None
    before = time.perf_counter()
    decoders = [] if isinstance(data.unlabeled, np.ndarray) else data.unlabeled.decoders

    def fitted(interrupted: bool) -> Fitted:
        earlier = 0.0 if checkpoints is None else checkpoints.seconds()
        seconds = time.perf_counter() - before + earlier
        return _fitted(fabric, state, log, validate, seconds, earlier, interrupted)

    with _open_log(fabric, params, budget) as log:
        meter = Meter(log, budget, fabric)
        sitting = Sitting(
            fabric, state, streams, budget, log, meter, train_rows, held_out, seed, decoders
        )

        def loop(keep_going: Callable[[], bool] | None) -> None:
            train(fabric, state, streams, settings, budget, log, validate, meter, keep_going)

        try:
            interrupted = _run(sitting, loop, checkpoints)
        except Diverged as error:
            error.fitted = fitted(interrupted=False)
            raise
    return fitted(interrupted)


def _run(
    sitting: Sitting,
    loop: Callable[[Callable[[], bool] | None], None],
    checkpoints: Checkpoints | None,
) -> bool:
    """Train, with checkpoints or without; whether Ctrl-C ended it."""
    if checkpoints is not None:
        return checkpoints.run(sitting, loop)
    loop(None)
    check_finite(sitting.state)
    return False


def _fitted(
    fabric: "Fabric",
    state: TrainState,
    log: RunLog,
    validate: Callable[[nn.Module], float] | None,
    seconds: float,
    seconds_before: float,
    interrupted: bool,
) -> Fitted:
    network, generator = averaged_networks(state)
    average_buffers(fabric, network, generator)
    return Fitted(
        loss_network=network,
        generator=generator,
        n_features=int(cast(Any, network).num_features),
        history=log.records,
        n_steps=state.step,
        n_rows_seen=state.rows_seen,
        n_skipped=state.skipped.total,
        seconds=seconds,
        seconds_before=seconds_before,
        precision=str(fabric.strategy.precision.precision),
        device_type=fabric.device.type,
        validation_error=validate(network) if validate else None,
        interrupted=interrupted,
    )


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
    See `fit_networks`.
    """
    use_unlabeled = settings.objective.unlabeled != "none"
    augment, generated_augment = choose_augment(
        params, data.spec, data.from_files, use_unlabeled and len(data.unlabeled) > 0
    )
    unlabeled_augment = choose_unlabeled_augment(params, data.spec, data.from_files, augment)
    asked = UNLABELED[settings.objective.unlabeled]
    weak_teacher = asked is not None and asked.teacher_view == "weak" and data.spec.is_image
    flip = flips(params["flip"], data.spec)
    teacher = build_augment("weak" if weak_teacher else "none", data.spec.shape, flip)
    empty = _store(data.labeled[:0], data, fabric.device)
    return Streams(
        labeled=_store(data.labeled[train_rows], data, fabric.device),
        unlabeled=_unlabeled_store(data, fabric, seed) if use_unlabeled else empty,
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
        keep_plain=settings.objective.margins_train == "level",
    )


def averaged_networks(state: TrainState) -> tuple[nn.Module, nn.Module | None]:
    """The networks with averaged weights, ready to predict and to be trained further.

    Parameters
    ----------
    state : TrainState

    Returns
    -------
    (loss_network, generator)

    Examples
    --------
    See `fit_networks`.
    """
    network = _as_trained(state.average_loss_network.module, state.loss_network.module)
    network = fold_spectral_norm(network)
    if state.average_generator is None:
        return network, None
    return network, _as_trained(state.average_generator.module, state.generator.module)


def _as_trained(average: nn.Module, trained: nn.Module) -> nn.Module:
    """Give averaged weights the trained network's marks of what is fixed."""
    for mine, its in zip(average.parameters(), trained.parameters(), strict=True):
        mine.requires_grad_(its.requires_grad)
    return average.eval()


def _build_networks(
    data: TrainingData, settings: Settings, params: Mapping[str, Any], seed: int
) -> tuple[nn.Module, nn.Module | None]:
    shape, n_classes = data.spec.shape, len(data.classes)
    n_rows = len(data.labeled) + len(data.unlabeled)
    options = choose_network_options(params, data.spec, n_rows)
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


def _check_filter(network: nn.Module, settings: Settings) -> None:
    """Refuse to weigh unlabeled rows by a probability of "none" that nothing trains."""
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


def _some_images(data: TrainingData, seed: int) -> Tensor:
    """Images of the larger pool, as networks see them, to fit the stem to."""
    pool = data.unlabeled if len(data.unlabeled) > len(data.labeled) else data.labeled
    count = max(min(WHITENING_ROWS, WHITENING_VALUES // math.prod(data.spec.shape)), 1)
    if not isinstance(pool, np.ndarray):
        return torch.from_numpy(data.units.standardise(pool.some(min(count, LOOKED_AT))))
    rows = np.random.default_rng(seed).permutation(len(pool))[:count]
    return torch.from_numpy(data.units.standardise(pool[np.sort(rows)]))


def _store(rows: Array, data: TrainingData, device: torch.device) -> RowStore:
    if data.spec.is_image:
        offset, scale = float(data.units.offset), float(data.units.scale)
        return RowStore(_tensor(rows), torch.tensor(offset), torch.tensor(scale), device)
    rows = data.units.standardise(rows)
    return RowStore(_tensor(rows), torch.tensor(0.0), torch.tensor(1.0), device)


def _unlabeled_store(data: TrainingData, fabric: "Fabric", seed: int) -> RowStore | PoolStore:
    if isinstance(data.unlabeled, np.ndarray):
        return _store(data.unlabeled, data, fabric.device)
    process = (fabric.global_rank, fabric.world_size)
    return PoolStore(data.unlabeled, data.units, fabric.device, seed + 1, *process)


def _tensor(rows: Array) -> Tensor:
    return torch.from_numpy(rows if rows.flags.writeable else rows.copy())


def _budget(
    data: TrainingData,
    settings: Settings,
    params: Mapping[str, Any],
    started: float,
    agree: Callable[[float], float] | None,
) -> Budget:
    max_steps, time_limit = params["max_steps"], params["time_limit"]
    if max_steps is None and time_limit is None:
        n_rows = len(data.labeled) + len(data.unlabeled)
        max_steps = default_steps(n_rows, settings.batch_size)
    return Budget(max_steps, time_limit, started, agree)


def _cut_validation(
    data: TrainingData, fraction: float, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    if fraction == 0:
        return np.arange(len(data.codes)), np.arange(0)
    return split_validation(data.codes, fraction, seed, data.classes)


def _open_log(fabric: "Fabric", params: Mapping[str, Any], budget: Budget) -> RunLog:
    return RunLog(
        params["log_dir"],
        params["verbose"],
        total_seconds=params["time_limit"],
        total_steps=budget.max_steps,
        is_global_zero=fabric.is_global_zero,
    )


def _validator(
    fabric: "Fabric",
    data: TrainingData,
    rows: npt.NDArray[np.int64],
    views: Sequence[View],
    budget: Budget,
) -> Callable[[nn.Module], float]:
    """Error rate on held-out labeled rows; the budget keeps time for the last one."""
    store, codes = _store(data.labeled[rows], data, fabric.device), data.codes[rows]

    def error(network: nn.Module) -> float:
        began = time.perf_counter()
        best = predict_arrays(
            network,
            lambda part: store.gather(torch.arange(part.start, part.stop)),
            len(rows),
            lambda logits, features: logits.argmax(dim=1),
            fabric.autocast,
            views,
        )
        budget.reserve["validation"] = time.perf_counter() - began
        return float(np.mean(best != codes))

    return error
