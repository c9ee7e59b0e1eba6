"""Runs of the loop on real digits, for the tests of its parts."""

from types import SimpleNamespace

import numpy as np
import torch

from clsgan.defaults import resolve_settings
from clsgan.devices import make_fabric
from clsgan.networks import build_generator, build_loss_network, whiten_stem
from clsgan.run_parts import fit_level, make_streams
from clsgan.train_state import prepare_state
from clsgan.trainer import update_loss_network
from clsgan.training_data import read_training_data


def prepare_run(estimator, digits):
    """Everything that a step takes, on real digits; parameters as those of the estimator."""
    params = estimator.get_params()
    data = read_training_data(digits.x_lab, digits.y_lab, digits.x_unl, params, None)
    settings = resolve_settings(params, data.spec, len(data.labeled) + len(data.unlabeled))
    network = build_loss_network("small", (1, 8, 8), 10, params["loss_network_options"])
    whiten_stem(network, torch.from_numpy(digits.x_unl[:, None] / 8.0 - 1).float())
    generator = build_generator("small", (1, 8, 8), 10, 8, params["generator_options"])
    generator = None if params["generator"] is None else generator
    fabric = make_fabric("cpu", "32-true")
    streams = make_streams(fabric, data, np.arange(100), settings, params, seed=0)
    fit_level(network, settings)
    state = prepare_state(fabric, network, generator, settings)
    return SimpleNamespace(fabric=fabric, state=state, streams=streams, settings=settings)


def draw(run):
    batch = run.streams.next(run.settings.sizes(1.0, has_unlabeled=True, world_size=1))
    return batch, run.state.generator(batch.z, batch.y_gen)


def loss_step(run, batch, generated):
    return update_loss_network(
        run.fabric, run.state, run.streams, batch, generated, run.settings, progress=1.0
    )


def snapshot(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def changed(before, module):
    """Names of the weights and statistics that differ from a snapshot, but for step counters."""
    now = module.state_dict()
    return {
        name
        for name, tensor in before.items()
        if not torch.equal(tensor, now[name]) and not name.endswith("num_batches_tracked")
    }
