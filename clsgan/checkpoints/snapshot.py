"""Everything that changes while a run trains, as tensors and a JSON document, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from clsgan.checkpoints.history import pack_history, unpack_history
from clsgan.meter import Meter
from clsgan.pools.decoding import RowDecoder
from clsgan.pools.store import PoolStore
from clsgan.runlog import RunLog
from clsgan.schedules import Budget
from clsgan.streams import EndlessSampler, Streams
from clsgan.train_state import TrainState

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Index = npt.NDArray[np.int64]
OPTIMIZERS = ("loss_optimizer", "generator_optimizer")
BELIEFS = ("class_shares", "labeled_scores", "pool_scores")  # of `PoolBelief`


@dataclass
class Sitting:
    """One run while it trains.

    Attributes
    ----------
    fabric : Fabric
    state : TrainState
    streams : Streams
    budget : Budget
    log : RunLog
    meter : Meter
    train_rows, validation_rows : array of int64
        Labeled rows that are trained on, and those that are held out.
    seed : int
    decoders : list of RowDecoder
        Of the pools of unlabeled rows.
    network_options : mapping, optional
        Arguments of the loss network that were chosen for the run, where none were given.

    Examples
    --------
    >>> sorted(Sitting.__dataclass_fields__)[:3]
    ['budget', 'decoders', 'fabric']
    """

    fabric: "Fabric"
    state: TrainState
    streams: Streams
    budget: Budget
    log: RunLog
    meter: Meter
    train_rows: Index
    validation_rows: Index
    seed: int
    decoders: Sequence[RowDecoder] = ()
    network_options: Mapping[str, Any] | None = None


def capture(sitting: Sitting) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What a later process needs to go on as if there had been no break.

    Parameters
    ----------
    sitting : Sitting

    Returns
    -------
    tensors : dict of str to Tensor
    document : dict
        What JSON can hold.

    Examples
    --------
    See `clsgan.checkpoints.run.Checkpoints.save`.
    """
    state, streams = sitting.state, sitting.streams
    sums, counts = sitting.meter.state_dict()
    optimizers = {name: _optimizer_state(getattr(state, name)) for name in OPTIMIZERS}
    tensors = {
        **_prefixed("meter", sums),
        **_prefixed("random", _random_states(sitting)),
        **_prefixed("sampler.labeled", _sampler_state(streams.labeled_rows)),
        **_prefixed("sampler.unlabeled", _sampler_state(streams.unlabeled_rows)),
        "rows.train": torch.from_numpy(sitting.train_rows),
        "rows.validation": torch.from_numpy(sitting.validation_rows),
    }
    for name, network in _networks(state).items():
        tensors |= _prefixed(name, _tensors_of(network))
    for name, (held, _) in optimizers.items():
        tensors |= _prefixed(name, held)
    running = _running_tensors(sitting)
    tensors |= _prefixed("running", running)
    log = sitting.log.state_dict()
    history, kinds = pack_history(log.pop("records"))
    tensors |= _prefixed("history", history)
    document = {
        "step": state.step,
        "rows_seen": state.rows_seen,
        "seed": sitting.seed,
        "skipped": state.skipped.state_dict(),
        "budget": sitting.budget.state_dict(),
        "meter": counts,
        "log": log | {"kinds": kinds},
        "strides": {name: list(tensor.stride()) for name, tensor in running.items()},
        "optimizers": {name: numbers for name, (_, numbers) in optimizers.items()},
        "precision": dict(sitting.fabric.strategy.precision.state_dict()),
        "pool": streams.unlabeled.state_dict() if isinstance(streams.unlabeled, PoolStore) else {},
        "unreadable": [dict(decoder.skipped) for decoder in sitting.decoders],
        "known_share": state.pool.known_share,
        "by_held_out": state.pool.by_held_out,
        "network_options": sitting.network_options,
    }
    return tensors, document


def apply(sitting: Sitting, tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> None:
    """Bring a run to where a checkpoint was written.

    Parameters
    ----------
    sitting : Sitting
        Of the same run, freshly made; changed in place.
    tensors, document : as `capture` makes them

    Raises
    ------
    ValueError
        If the networks are others.

    Examples
    --------
    See `clsgan.checkpoints.run.Checkpoints.save`.
    """
    state, streams = sitting.state, sitting.streams
    for name, network in _networks(state).items():
        _fill(name, _tensors_of(network), _under(name, tensors))
    for name in OPTIMIZERS:
        held, numbers = _under(name, tensors), document["optimizers"][name]
        _fill_optimizer(getattr(state, name), held, numbers)
    _apply_running(sitting, _under("running", tensors), document["strides"])
    _apply_random_states(sitting, _under("random", tensors))
    _apply_sampler(streams.labeled_rows, _under("sampler.labeled", tensors))
    _apply_sampler(streams.unlabeled_rows, _under("sampler.unlabeled", tensors))
    if isinstance(streams.unlabeled, PoolStore):
        streams.unlabeled.load_state_dict(document["pool"])
    for decoder, skipped in zip(sitting.decoders, document["unreadable"], strict=True):
        decoder.skipped |= skipped
    state.pool.known_share = float(document["known_share"])
    state.pool.by_held_out = bool(document.get("by_held_out", False))
    state.step, state.rows_seen = int(document["step"]), int(document["rows_seen"])
    state.skipped.load_state_dict(document["skipped"])
    sitting.fabric.strategy.precision.load_state_dict(document["precision"])
    sitting.budget.load_state_dict(document["budget"])
    device = sitting.fabric.device
    sums = {name: tensor.to(device) for name, tensor in _under("meter", tensors).items()}
    sitting.meter.load_state_dict(sums, document["meter"])
    records = unpack_history(_under("history", tensors), document["log"]["kinds"])
    sitting.log.load_state_dict({**document["log"], "records": records}, state.step)


def _networks(state: TrainState) -> dict[str, nn.Module]:
    found: dict[str, nn.Module | None] = {
        "loss_network": state.loss_network.module,
        "average_loss_network": state.average_loss_network,
        "generator": None if state.generator is None else state.generator.module,
        "average_generator": state.average_generator,
    }
    return {name: network for name, network in found.items() if network is not None}


def _tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """Weights and all buffers, those among them that a state dict leaves out."""
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


@torch.no_grad()
def _fill(name: str, own: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    shapes = [{key: tuple(t.shape) for key, t in each.items()} for each in (own, saved)]
    if shapes[0] != shapes[1]:
        wrong = sorted(k for k in {*own, *saved} if shapes[0].get(k) != shapes[1].get(k))
        raise ValueError(
            f"the checkpoint is of another {name}: {wrong[0]} was {shapes[1].get(wrong[0])} and "
            f"is {shapes[0].get(wrong[0])}"
        )
    for key, tensor in own.items():
        tensor.copy_(saved[key])


def _parameters(optimizer: Any) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _optimizer_state(optimizer: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {}
    for i, parameter in enumerate(_parameters(optimizer) if optimizer is not None else []):
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"{i}.{key}"] = value
            else:
                numbers[f"{i}.{key}"] = value
    return tensors, numbers


def _fill_optimizer(
    optimizer: Any, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]
) -> None:
    if optimizer is None:
        return
    parameters = _parameters(optimizer)
    optimizer.state.clear()
    for name, value in {**tensors, **numbers}.items():
        i, _, key = name.partition(".")
        parameter = parameters[int(i)]
        if isinstance(value, Tensor):
            held = value.to(parameter.device)
            if value.shape == parameter.shape:
                # in the memory format of the weights, as the optimiser itself makes it
                held = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
            value = held.detach()
        optimizer.state[parameter][key] = value


def _running_tensors(sitting: Sitting) -> dict[str, Tensor]:
    state = sitting.state
    found: dict[str, Tensor | None] = {"teacher_classes": state.teacher_classes}
    found |= {f"pool_{name}": getattr(state.pool, name) for name in BELIEFS}
    if state.steepest is not None:
        found |= {"steepest_x": state.steepest.x, "steepest_y": state.steepest.y}
    for i, decoder in enumerate(sitting.decoders):
        if decoder.last is not None:
            found[f"decoder_last_{i}"] = torch.from_numpy(np.array(decoder.last))
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def _apply_running(
    sitting: Sitting, tensors: Mapping[str, Tensor], strides: Mapping[str, list[int]]
) -> None:
    state, device = sitting.state, sitting.fabric.device
    on_device = {
        name: torch.empty_strided(
            tensor.shape, strides[name], dtype=tensor.dtype, device=device
        ).copy_(tensor)
        for name, tensor in tensors.items()
    }
    state.teacher_classes = on_device.get("teacher_classes")
    if state.steepest is not None:
        state.steepest.x, state.steepest.y = (on_device.get(f"steepest_{name}") for name in "xy")
    for name in BELIEFS:
        setattr(state.pool, name, on_device.get(f"pool_{name}"))
    for i, decoder in enumerate(sitting.decoders):
        if f"decoder_last_{i}" in tensors:
            decoder.last = tensors[f"decoder_last_{i}"].numpy()


def _random_states(sitting: Sitting) -> dict[str, Tensor]:
    states = {"streams": sitting.streams.generator.get_state(), "torch": torch.get_rng_state()}
    device: Any = getattr(torch, sitting.fabric.device.type)
    if sitting.fabric.device.type != "cpu":
        states["device"] = device.get_rng_state()
    return states


def _apply_random_states(sitting: Sitting, states: Mapping[str, Tensor]) -> None:
    sitting.streams.generator.set_state(states["streams"])
    torch.set_rng_state(states["torch"])
    device: Any = getattr(torch, sitting.fabric.device.type)
    if "device" in states:
        device.set_rng_state(states["device"])


def _sampler_state(sampler: EndlessSampler) -> dict[str, Tensor]:
    return {"generator": sampler.generator.get_state(), "queue": sampler.queue}


def _apply_sampler(sampler: EndlessSampler, tensors: Mapping[str, Tensor]) -> None:
    sampler.generator.set_state(tensors["generator"])
    sampler.queue = tensors["queue"]


def _prefixed(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{name}.{key}": tensor for key, tensor in tensors.items()}


def _under(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    prefix = f"{name}."
    return {
        key.removeprefix(prefix): tensor
        for key, tensor in tensors.items()
        if key.startswith(prefix)
    }
