"""A user's first day in the folder where it is run: what must work with any set of requirements."""

import signal
import tarfile
import warnings
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from clsgan import CLSGANClassifier, trainer

bunch = load_digits()
X, y = bunch.images.astype("uint8"), bunch.target
TINY = {
    "max_steps": 6,
    "generator": None,
    "loss_network_options": {"widths": (8, 8, 16)},
    "accelerator": "cpu",
    "random_state": 0,
}


def learn_save_and_sample() -> None:
    model = CLSGANClassifier(max_steps=60, random_state=0, unlabeled_filter="open-class")
    model.fit(X[:300], y[:300], X[300:1300])
    assert model.score(X[1300:], y[1300:]) > 0.6
    model.save("model")
    again = CLSGANClassifier.load("model")
    assert (again.predict(X[1300:]) == model.predict(X[1300:])).all()
    model.sample(3)


def stop_and_go_on() -> None:
    """Ctrl-C in the third of six steps."""
    kept = {"checkpoint": "checkpoint", "checkpoint_every": 0, "resume": True}
    update, steps = trainer.update_averages, []

    def press(state: object) -> None:
        steps.append(1)
        if len(steps) == 3:
            signal.raise_signal(signal.SIGINT)
        update(state)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    trainer.update_averages = press
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stopped = CLSGANClassifier(**TINY, **kept).fit(X[:300], y[:300])
    trainer.update_averages = update
    assert stopped.interrupted_ and stopped.n_steps_ == 3
    resumed = CLSGANClassifier(**TINY, **kept).fit(X[:300], y[:300])
    assert resumed.n_steps_ == 6 and not resumed.interrupted_
    whole = CLSGANClassifier(**TINY).fit(X[:300], y[:300])
    assert (resumed.predict_loss(X) == whole.predict_loss(X)).all()


def read_files() -> None:
    """Labeled images in a folder for each class, unlabeled ones in shards."""
    for i in range(100):
        folder = Path("photos") / str(y[i])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(15 * X[i]).save(folder / f"{i}.png")
    Path("shards").mkdir()
    for shard in range(2):
        with tarfile.open(f"shards/s{shard}.tar", "w") as tar:
            for i in range(shard, 200, 2):
                Image.fromarray(15 * X[300 + i]).save("image.png")
                tar.add("image.png", f"{i:05d}.png")
    model = CLSGANClassifier(**TINY, image_size=8).fit("photos", None, "shards")
    assert len(model.predict("photos")) == 100
    assert np.isfinite(model.predict_proba("photos")).all()


if __name__ == "__main__":
    learn_save_and_sample()
    stop_and_go_on()
    read_files()
