"""Test error over a training as the paper prints it, by two rules of prediction.

    python benchmarks/prediction_rule.py --steps 200 data.path=FILE.npz
    python benchmarks/prediction_rule.py --recipe svhn-1000-paper --steps 200

The authors' code never leaves training mode: batch norm takes its statistics from the test rows
themselves, here from `--test-batch` of them at a time, so that a prediction depends on the other
rows. The right way takes running statistics. The third curve has averaged weights too, as this
package predicts by default. Arguments key=value are laid over the recipe.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jobs import ROOT, commit
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from torch import Tensor, nn

from clsgan import CLSGANClassifier
from clsgan.choices import one_of
from clsgan.config import load_recipe
from clsgan.defaults import resolve_settings
from clsgan.devices import choose_device, choose_precision, flushed_denormals, make_fabric, seeded
from clsgan.doctor import machine, versions
from clsgan.freezing import frozen_statistics
from clsgan.inference import predict_arrays
from clsgan.networks import build_generator, build_loss_network
from clsgan.pictures import GROUND, INK, png_bytes
from clsgan.run_data import RunData, load_run_data
from clsgan.run_folder import write_bytes, write_json
from clsgan.run_parts import make_streams
from clsgan.runlog import RunLog
from clsgan.schedules import Budget
from clsgan.train_state import prepare_state
from clsgan.trainer import train
from clsgan.training_data import read_like, read_training_data

OUT = ROOT / "benchmarks" / "results" / "prediction_rule.json"
RULES = {  # name, how it is drawn
    "test_batch": ("authors': statistics of the test batch", "#c2452d"),
    "running": ("running statistics", "#1f5fa8"),
    "averaged": ("running statistics, averaged weights", "#4d8f3a"),
}
Point = dict[str, float]


def curve(data: RunData, arguments: dict[str, Any], test_batch: int) -> list[Point]:
    """Test errors at every tenth of a training, with the loop and the parts of `fit`."""
    params = CLSGANClassifier(**arguments).get_params(deep=False)
    rows = read_training_data(data.x_lab, data.y_lab, data.x_unlab, params, None)
    n_rows = len(rows.labeled) + len(rows.unlabeled)
    seed = int(check_random_state(params["random_state"]).randint(2**31 - 8))  # as `fit` does
    settings = resolve_settings(params, rows.spec, n_rows)
    device = choose_device(params["accelerator"])
    fabric = make_fabric(device, choose_precision(params["precision"], device))
    x = torch.from_numpy(rows.units.standardise(read_like(data.x_test, rows.spec, "X", None)[0]))
    y, shape, points = np.searchsorted(rows.classes, data.y_test), rows.spec.shape, []
    with flushed_denormals(), seeded(seed, device), RunLog(verbose=params["verbose"]) as log:
        network = build_loss_network(params["loss_network"], shape, len(rows.classes), seed=seed)
        generator = build_generator(
            params["generator"], shape, len(rows.classes), settings.latent_dim, seed=seed + 1
        )
        labeled = np.arange(len(rows.labeled))
        streams = make_streams(fabric, rows, labeled, settings, params, seed)
        state = prepare_state(fabric, network, generator, settings)

        def test(average: nn.Module) -> float:
            last = state.loss_network.module
            with fabric.autocast():
                errors = {
                    "test_batch": error(by_test_batch(last, x.to(device), test_batch), y),
                    "running": error(by_running_statistics(last, x.to(device)), y),
                    "averaged": error(by_running_statistics(average, x.to(device)), y),
                }
            epoch = state.rows_seen / n_rows
            points.append({"step": state.step, "epoch": epoch, **errors})
            return errors["averaged"]

        train(fabric, state, streams, settings, Budget(params["max_steps"]), log, test)
    return points


def by_test_batch(network: nn.Module, x: Tensor, size: int) -> NDArray[np.int64]:
    """Classes [N] with batch norm as in training, over batches of about `size` test rows."""
    modes = [(module, module.training) for module in network.modules()]
    network.train()
    with frozen_statistics(network), torch.no_grad():
        parts = x.tensor_split(math.ceil(len(x) / size))
        best = torch.cat([network(part)[0].argmax(dim=1) for part in parts])
    for module, mode in modes:
        module.training = mode
    return np.asarray(best.cpu().numpy())


def by_running_statistics(network: nn.Module, x: Tensor) -> NDArray[np.int64]:
    """Classes [N], each row for itself, as `predict` finds them."""
    return predict_arrays(network, x.__getitem__, len(x), lambda logits, _: logits.argmax(dim=1))


def error(predicted: NDArray[np.int64], y: NDArray[np.int64]) -> float:
    return float(np.mean(predicted != y))


def picture(points: Sequence[Point], title: str) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 3.5), dpi=150, layout="constrained")
    figure.set_facecolor(GROUND)
    axes = figure.add_subplot()
    for rule, (text, colour) in RULES.items():
        errors = [100 * point[rule] for point in points]
        axes.plot([point["step"] for point in points], errors, "o-", ms=3, color=colour, label=text)
    axes.set(xlabel="step", ylabel="test error, %")
    axes.set_title(title, color=INK, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return png_bytes(figure)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="cifar10-4000-paper")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--test-batch", type=int, default=500)
    parser.add_argument("--out", type=Path, default=OUT, help="JSON file; the picture beside it")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_args(argv)
    try:
        config = load_recipe(options.recipe, options.overrides)
        one_of("estimator.loss_network", config.estimator.get("loss_network"), {"paper": None})
        data = load_run_data(config.data)
    except (ValueError, OSError) as problem:
        parser.error(str(problem))
    form = {"flip": data.flip, "layout": data.layout, "random_state": config.data.seed}
    own = {"max_steps": options.steps, "average_decay": 0.99}  # of no weight in the training
    arguments = {**form, **config.estimator, **own}
    started = datetime.now(UTC)
    points = curve(data, arguments, options.test_batch)
    seconds = (datetime.now(UTC) - started).total_seconds()
    facts = {"date": started.isoformat(timespec="seconds"), **commit(), "seconds": seconds}
    facts |= {"split": {"name": data.split, "hash": data.split_hash}, "n_test": len(data.y_test)}
    facts |= {"recipe": config.name, "arguments": arguments, "test_batch": options.test_batch}
    facts |= {"points": points, "versions": versions(), "machine": machine()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.out, facts)
    title = f"{data.split}, {len(data.y_test):,} test rows"
    write_bytes(options.out.with_suffix(".png"), picture(points, title))
    last = ", ".join(f"{rule} {points[-1][rule]:.2%}" for rule in RULES)
    print(f"step {points[-1]['step']}: {last}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
