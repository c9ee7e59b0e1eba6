"""Frozen features of a network as a data set for the recipe `embeddings`.

    python examples/embeddings.py --out embeddings.npz
    python examples/embeddings.py --data cifar10 --timm resnet18 --out embeddings.npz
    clsgan train embeddings data.path=embeddings.npz

Features come from a model that was saved (`--model RUN/model`), from a backbone of timm with its
published weights, which timm downloads (`--timm NAME`; `--untrained` for random ones), or from a
network trained here on 100 labels.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clsgan import CLSGANClassifier
from clsgan.data import ImageData, load_data
from clsgan.devices import seeded
from clsgan.inputs import to_nchw
from clsgan.splits import split_labels

BATCH = 64
Features = Callable[[NDArray[np.uint8]], NDArray[Any]]


def main(argv: Sequence[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", default="digits", help="name of a data set, or npz with --path")
    add("--path", help="where it lies")
    add("--model", help="folder of a saved CLSGANClassifier")
    add("--timm", metavar="NAME", help="a model of timm in its place")
    add("--untrained", action="store_true", help="without the published weights")
    add("--size", type=int, default=64, help="side of the images that timm's model gets")
    add("--steps", type=int, default=300, help="of the network trained here")
    add("--out", type=Path, required=True)
    options = parser.parse_args(argv)
    data = load_data(options.data, path=options.path)
    if options.timm:
        features = timm_features(options.timm, not options.untrained, options.size)
    elif options.model:
        features = CLSGANClassifier.load(options.model).transform
    else:
        features = trained(data, options.steps).transform
    train, test = (features(x).astype(np.float32) for x in (data.x_train, data.x_test))
    labels = {"y_train": data.y_train, "y_test": data.y_test}
    np.savez(options.out, x_train=train, x_test=test, class_names=data.class_names, **labels)
    print(f"{options.out}: {len(train)} and {len(test)} rows of {train.shape[1]} features")
    return Path(options.out)


def trained(data: ImageData, steps: int) -> CLSGANClassifier:
    """A network trained on the labels that the recipe draws too: 100 of them, seed 0."""
    rows = split_labels(data.y_train, 100, seed=0)
    rest = np.delete(data.x_train, rows, axis=0)
    model = CLSGANClassifier(max_steps=steps, flip=data.flip, random_state=0)
    return model.fit(data.x_train[rows], data.y_train[rows], X_unlab=rest)


def timm_features(name: str, pretrained: bool, size: int) -> Features:
    """Pooled features of a backbone, on images enlarged and scaled as it was trained."""
    import timm

    with seeded(0):  # of random weights
        model = timm.create_model(name, pretrained=pretrained, num_classes=0).eval()
    config = timm.data.resolve_model_data_config(model)
    mean, std = (torch.tensor(config[key])[:, None, None] for key in ("mean", "std"))

    def features(images: NDArray[np.uint8]) -> NDArray[Any]:
        pixels = torch.from_numpy(to_nchw(images, "NHW" if images.ndim == 3 else "NHWC").copy())
        parts = []
        for batch in pixels.split(BATCH):
            x = batch.float().expand(-1, 3, -1, -1) / 255
            x = torch.nn.functional.interpolate(x, (size, size), mode="bilinear", antialias=True)
            with torch.inference_mode():
                parts.append(model((x - mean) / std).float())
        return np.asarray(torch.cat(parts))

    return features


if __name__ == "__main__":
    main()
