"""What is measured on generated images: with one classifier of ours, trained once a data set."""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clsgan import LSGAN, CLSGANClassifier
from clsgan.data import ImageData, load_data
from clsgan.evaluate import minimum_reconstruction_error
from clsgan.metrics import frechet_distance
from clsgan.training_data import read_like

Array = NDArray[Any]

WIDTHS, STEPS, SEED = (32, 64, 128), 500, 0
N_FRECHET = 10_000
N_RECONSTRUCTED, RECONSTRUCTION = 100, {"steps": 100, "restarts": 2, "random_state": 0}
FAIR_SHARE = 0.2  # a class is covered with this much of its fair share of the samples


@dataclass(frozen=True)
class Extractor:
    """The classifier whose features and classes are the yardstick, and what identifies it.

    `real` are its features of the test rows that samples are held against.
    """

    model: CLSGANClassifier
    facts: dict[str, Any]
    real: Array


def image_data(name: str, path: str | None) -> ImageData:
    return load_data(name, path=path)


def extractor(data: ImageData, folder: Path, steps: int = STEPS) -> Extractor:
    """The extractor of a data set: read from `folder`, or trained on all training rows.

    What it makes of the test rows is kept there too, beside the hash of the weights.
    """
    widths = "_".join(map(str, WIDTHS))
    name = f"small_{widths}.{data.name}.{steps}steps.seed{SEED}"
    where = folder / name
    if not where.exists():
        model = CLSGANClassifier(
            generator=None,
            unlabeled="none",
            loss_network="small",
            loss_network_options={"widths": list(WIDTHS)},
            flip=data.flip,
            max_steps=steps,
            precision="32",
            accelerator="cpu",
            random_state=SEED,
        ).fit(data.x_train, data.y_train)
        unfinished = folder / f".{name}.{os.getpid()}"
        model.save(unfinished)
        try:
            unfinished.rename(where)
        except OSError:  # another process was first, with the same weights
            if not where.exists():
                raise
            shutil.rmtree(unfinished)
    model = CLSGANClassifier.load(where)
    facts = {"name": name, "sha256": weights_hash(model)}
    kept = folder / f"{name}.{facts['sha256'][:16]}.npz"
    if not kept.exists():
        real = model.transform(data.x_test[: compared(data)])
        unfinished = folder / f".{kept.stem}.{os.getpid()}.npz"
        np.savez(unfinished, real=real, error=1 - model.score(data.x_test, data.y_test))
        unfinished.replace(kept)
    with np.load(kept) as file:
        return Extractor(model, facts | {"test_error": float(file["error"])}, file["real"])


def compared(data: ImageData) -> int:
    """How many test rows samples are held against, where there are that many."""
    return min(N_FRECHET, max(len(data.x_test), 1000))


def weights_hash(model: CLSGANClassifier) -> str:
    """SHA-256 of the loss network's tensors in the order of their names."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.loss_network_.state_dict().items()):
        found.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def image_measures(
    model: LSGAN, data: ImageData, yardstick: Extractor, noise: str
) -> dict[str, Any]:
    """Fréchet distance to the test rows, classes covered, and the MRE of the first test rows.

    `noise` is that of the generator's training.
    """
    n = compared(data)
    samples = model.sample(n, random_state=1)
    features = [yardstick.real, yardstick.model.transform(samples)]
    predicted = yardstick.model.predict(samples)
    shares = np.array([np.mean(predicted == label) for label in yardstick.model.classes_])
    rows, _ = read_like(data.x_test[:N_RECONSTRUCTED], model.spec_, "X", _no_rows)
    found = minimum_reconstruction_error(
        model.generator_, model.units_.standardise(rows), noise=noise, **RECONSTRUCTION
    )
    return {
        "frechet": frechet_distance(*features),
        "frechet_rows": [len(yardstick.real), n],
        "modes": int((shares >= FAIR_SHARE / len(shares)).sum()),
        "n_modes": len(shares),
        "class_shares": shares.round(4).tolist(),
        "mre": found.mean,
        "mre_rows": len(rows),
        "mre_search": RECONSTRUCTION,
        "extractor": yardstick.facts,
    }


def _no_rows(X: Any, reset: bool, name: str) -> Array:
    raise ValueError(f"{name} is expected to be images")
