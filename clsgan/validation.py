"""The error on held-out rows while a run trains, and the seconds that predictions take."""

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from clsgan.inference import CHUNK, View, predict_arrays
from clsgan.run_parts import row_store
from clsgan.schedules import Budget
from clsgan.streams import RowStore
from clsgan.training_data import TrainingData

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Array = npt.NDArray[Any]


def make_validator(
    fabric: "Fabric",
    data: TrainingData,
    rows: npt.NDArray[np.int64],
    views: Sequence[View],
    budget: Budget,
) -> Callable[[nn.Module], float]:
    """What gives the error rate of a network on held-out labeled rows.

    Parameters
    ----------
    fabric : Fabric
    data : TrainingData
    rows : array [n], int64
        Which of the labeled rows are held out.
    views : sequence of callable
        As of the predictions.
    budget : Budget
        Keeps time back for the last one.

    Returns
    -------
    callable

    Examples
    --------
    See `clsgan.fitting.fit_networks`.
    """
    store, codes = row_store(data.labeled[rows], data, fabric.device), data.codes[rows]

    def error(network: nn.Module) -> float:
        began = time.perf_counter()
        best = _predicted(fabric, network, store, len(rows), views)
        budget.reserve["validation"] = time.perf_counter() - began
        return float(np.mean(best != codes))

    return error


def keep_time_to_predict(
    fabric: "Fabric",
    network: nn.Module,
    data: TrainingData,
    views: Sequence[View],
    budget: Budget,
    counts: tuple[int, int],
) -> None:
    """Keep time back for predictions after the last step, by what one chunk of rows takes.

    Parameters
    ----------
    fabric : Fabric
    network : nn.Module
    data : TrainingData
        Labeled rows of it are taken.
    views : sequence of callable
    budget : Budget
        Of steps alone, it stays as it is.
    counts : (int, int)
        Rows that are held out, and rows of a test that the processes share out; for the latter the
        run is made shorter.

    Examples
    --------
    See `clsgan.fitting.fit_networks`.
    """
    if budget.time_limit is None or not any(counts):
        return
    store = row_store(data.labeled[:CHUNK], data, fabric.device)
    for _ in range(2):  # the first time a device gets ready
        began = time.perf_counter()
        _predicted(fabric, network, store, len(store), views)
        took = time.perf_counter() - began
    budget.reserve["validation"] = took * math.ceil(counts[0] / CHUNK)
    budget.shorten(took * math.ceil(counts[1] / fabric.world_size / CHUNK))


def _predicted(
    fabric: "Fabric", network: nn.Module, store: RowStore, n_rows: int, views: Sequence[View]
) -> Array:
    return predict_arrays(
        network,
        lambda part: store.gather(torch.arange(part.start, part.stop)),
        n_rows,
        lambda logits, features: logits.argmax(dim=1),
        fabric.autocast,
        views,
    )
