"""From checked data to trained networks: builds the parts of a run and hands them to the loop."""

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
from torch import nn

from clsgan.checkpoints.fingerprint import hash_of
from clsgan.checkpoints.run import Checkpoints, Diverged, open_checkpoints
from clsgan.checkpoints.snapshot import Sitting
from clsgan.defaults import (
    choose_network_options,
    choose_views,
    default_steps,
)
from clsgan.devices import (
    choose_device,
    choose_precision,
    flushed_denormals,
    make_fabric,
    own_modes,
    seeded,
)
from clsgan.inference import VIEWS
from clsgan.level_refit import refit_level, refits_level, seconds_to_refit
from clsgan.lipschitz import fold_spectral_norm, spectral_norm
from clsgan.memory import explained_out_of_memory, kept_memory
from clsgan.meter import Meter
from clsgan.processes import agreed_seconds, average_buffers, check_alike
from clsgan.run_parts import build_networks, check_filter, check_mixed, fit_level, make_streams
from clsgan.runlog import RunLog
from clsgan.schedules import Budget
from clsgan.settings import Settings
from clsgan.splits import split_validation
from clsgan.step_check import check_finite
from clsgan.train_state import TrainState, prepare_state
from clsgan.trainer import train
from clsgan.training_data import TrainingData
from clsgan.validation import keep_time_to_predict, make_validator

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Array = npt.NDArray[Any]


@dataclass
class Fitted:
    """What a run leaves behind.

    Attributes
    ----------
    loss_network, generator : nn.Module
        With averaged weights, in evaluation mode; the generator may be None.
    history : list of dict
    network_options : mapping or None
        Arguments that the loss network was built with.
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
    network_options: Mapping[str, Any] | None
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
    network_options: Mapping[str, Any] | None = None,
    n_test: int = 0,
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
    network_options : mapping, optional
        What the loss network of these was built with.
    n_test : int
        Rows that will be predicted within the time limit, once the networks are trained.

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
    check_alike(
        {
            "labeled rows": len(data.labeled),
            "labels of them": hash_of(data.codes),
            "unlabeled rows": len(data.unlabeled),
        }
    )
    use_unlabeled = settings.objective.unlabeled != "none" and len(data.unlabeled) > 0
    settings.check_shares(fabric.world_size, use_unlabeled)
    budget = _budget(data, settings, params, started, agreed_seconds(fabric))
    rotation_weight = settings.objective.rotation_weight
    checkpoints = open_checkpoints(params, data, device_type, precision, rotation_weight)
    with checkpoints or nullcontext():
        seed = int(fabric.broadcast(seed if checkpoints is None else checkpoints.seed(seed)))
        with (
            flushed_denormals(),
            seeded(seed, device_type),
            own_modes(),
            kept_memory(device_type),
            explained_out_of_memory(settings.batch_size, settings.generated_batch_size),
        ):
            options = network_options
            if previous is None:
                n_rows = len(data.labeled) + len(data.unlabeled)
                options = choose_network_options(params, data.spec, n_rows, fabric.world_size)
            if checkpoints is not None:
                options = checkpoints.network_options(options)
            options = fabric.broadcast(options)
            networks = previous or build_networks(data, settings, params, seed, options)
            return _fit(
                fabric, data, settings, params, budget, seed, checkpoints, networks, options, n_test
            )


def _fit(
    fabric: "Fabric",
    data: TrainingData,
    settings: Settings,
    params: Mapping[str, Any],
    budget: Budget,
    seed: int,
    checkpoints: Checkpoints | None,
    networks: tuple[nn.Module, nn.Module | None],
    options: Mapping[str, Any] | None,
    n_test: int,
) -> Fitted:
    """Build the parts of a run, train, and put together what it leaves behind."""
    rows = None if checkpoints is None else checkpoints.rows()
    train_rows, held_out = rows or _cut_validation(data, params["validation_fraction"], seed)
    fit_level(networks[0], settings)
    check_filter(networks[0], settings)
    check_mixed(networks[0], settings)
    if settings.spectral_norm:
        spectral_norm(networks[0])
    streams = make_streams(fabric, data, train_rows, settings, params, seed)
    state = prepare_state(fabric, *networks, settings)
    views = VIEWS[choose_views(params, data.spec)]
    validate = make_validator(fabric, data, held_out, views, budget) if len(held_out) else None
    before = time.perf_counter()
    decoders = [] if isinstance(data.unlabeled, np.ndarray) else data.unlabeled.decoders

    network = state.average_loss_network.module
    keep_time_to_predict(fabric, network, data, views, budget, (len(held_out), n_test))
    if refits_level(state, streams, settings, fabric.world_size):
        budget.reserve["level"] = seconds_to_refit(budget)

    def fitted(interrupted: bool, learn_level: bool) -> Fitted:
        average_buffers(fabric, state.average_loss_network, state.average_generator)
        if learn_level:
            refit_level(fabric, state, streams, settings)
        earlier = 0.0 if checkpoints is None else checkpoints.seconds()
        seconds = time.perf_counter() - before + earlier
        return _fitted(fabric, state, options, log, validate, seconds, earlier, interrupted)

    with _open_log(fabric, params, budget) as log:
        meter = Meter(log, budget, fabric)
        chosen = options if params["loss_network_options"] is None else None
        sitting = Sitting(
            fabric, state, streams, budget, log, meter, train_rows, held_out, seed, decoders, chosen
        )

        def loop(keep_going: Callable[[], bool] | None) -> None:
            train(fabric, state, streams, settings, budget, log, validate, meter, keep_going)

        try:
            interrupted = _run(sitting, loop, checkpoints)
        except Diverged as error:
            error.fitted = fitted(interrupted=False, learn_level=False)
            raise
    return fitted(interrupted, learn_level=not interrupted)


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
    options: Mapping[str, Any] | None,
    log: RunLog,
    validate: Callable[[nn.Module], float] | None,
    seconds: float,
    seconds_before: float,
    interrupted: bool,
) -> Fitted:
    network, generator = averaged_networks(state)
    return Fitted(
        loss_network=network,
        generator=generator,
        network_options=options,
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
