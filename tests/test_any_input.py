"""Drawn inputs: whatever form images, rows and labels come in, the right answer or an error that
names the problem."""

from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from clsgan import CLSGANClassifier

# The same cases in every run: what fails on one machine fails on all.
CASES = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.generate,),  # cases are small already, and shrinking them takes minutes
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
COMMON: dict[str, Any] = {
    "generator": None,
    "batch_size": 8,
    "max_steps": 1,
    "unlabeled_start": 0.0,
    "accelerator": "cpu",
    "precision": "32",
    "random_state": 0,
}
IMAGES = COMMON | {"loss_network_options": {"widths": (4, 4, 4)}}
ROWS = COMMON | {"loss_network_options": {"hidden": (4,)}}
SIDES = (2, 4, 5, 8, 9)
NUMBERS = ("uint8", "int8", "int16", "uint16", "int64", "float16", "float32", "float64", "bool")


# Memory layouts and containers, each with the same content


def strided(x):
    return np.repeat(x, 2, axis=0)[::2]


def backwards(x):
    return np.ascontiguousarray(x[::-1])[::-1]


def read_only(x):
    x = x.copy()
    x.setflags(write=False)
    return x


def byte_swapped(x):
    return x.astype(x.dtype.newbyteorder())


def tensor(x):
    return torch.from_numpy(x.astype(np.int32) if x.dtype == np.uint16 else x)


def frame(x):
    import pandas

    return pandas.DataFrame(x)


MEMORY = (np.ascontiguousarray, np.asfortranarray, strided, backwards, read_only, byte_swapped)
IMAGE_FORMS = (*MEMORY, tensor, list)
ROW_FORMS = (*MEMORY, tensor, list, np.ndarray.tolist)
ROW_FORMS += (frame,) if find_spec("pandas") else ()


# Labels: K classes as labels of a kind, and how unlabeled rows are marked among them


class Kind(NamedTuple):
    names: Any
    dtype: Any
    markers: tuple[Any, ...]


KINDS = {
    "str": Kind(["a", "bb", "ß", "10"], str, ()),
    "int": Kind([0, 1, 5, 7], int, (-1,)),
    "int8": Kind([0, 1, 5, 7], np.int8, (-1,)),
    "unsigned": Kind([0, 1, 5, 7], np.uint16, ()),
    "float": Kind([0.0, 2.0, 3.0, 9.0], float, (-1.0,)),
    "bool": Kind([False, True], bool, ()),
    "object of str": Kind(["a", "bb", "ß", "10"], object, (None, float("nan"))),
    "object of int": Kind([0, 1, 5, 7], object, (None, float("nan"), -1)),
    "object of bool": Kind([False, True], object, (None, float("nan"))),
}
LABEL_FORMS = (np.asarray, np.ndarray.tolist, strided, read_only)


@st.composite
def labels(draw, n):
    """Labels [n] of two classes or more, some rows unlabeled, and the classes."""
    kind = KINDS[draw(st.sampled_from(sorted(KINDS)))]
    count = draw(st.integers(2, len(kind.names)))
    names = kind.names[:count]
    y = np.array([names[i % count] for i in range(n)], dtype=kind.dtype)
    marker = draw(st.sampled_from((*kind.markers, "none")))
    if marker != "none":
        y[2 * count :] = marker
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    order = rng.permutation(n)
    return draw(st.sampled_from(LABEL_FORMS))(y[order]), sorted(names)


def content(shape, dtype, seed):
    """Numbers of a type, some of them at the ends of its range."""
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.startswith("float"):
        return rng.random(shape).astype(dtype)
    return rng.integers(0, min(np.iinfo(dtype).max, 255) + 1, shape).astype(dtype)


def check(model, X, X_plain, n, names):
    """The fitted model knows the classes, and does with X what it does with the plain array."""
    assert model.classes_.tolist() == names
    predicted = model.predict(X)
    assert len(predicted) == n and set(predicted.tolist()) <= set(names)
    assert predicted.dtype == model.classes_.dtype
    p = model.predict_proba(X)
    assert p.shape == (n, len(names)) and np.allclose(p.sum(axis=1), 1)
    assert np.isfinite(model.predict_loss(X)).all()
    assert np.array_equal(model.predict_loss(X), model.predict_loss(X_plain))


@CASES
@given(st.data())
def test_images_of_any_form(data):
    draw = data.draw
    n, seed = draw(st.integers(8, 14)), draw(st.integers(0, 999))
    height, width = draw(st.sampled_from(SIDES)), draw(st.sampled_from(SIDES))
    layout = draw(st.sampled_from(("NHW", "NHWC", "NCHW")))
    channels = draw(st.sampled_from((1, 2, 3, 4))) if layout != "NHW" else 1
    shape = {
        "NHW": (n, height, width),
        "NHWC": (n, height, width, channels),
        "NCHW": (n, channels, height, width),
    }[layout]
    dtype = draw(st.sampled_from(NUMBERS))
    plain = content(shape, dtype, seed)
    y, names = draw(labels(n))
    form = draw(st.sampled_from(IMAGE_FORMS))
    X = form(plain)
    told = draw(st.sampled_from(("auto", layout)))
    more = form(plain[: draw(st.integers(1, n))]) if draw(st.booleans()) else None
    model = CLSGANClassifier(**IMAGES, layout=told)
    other = {"NHW": 0, "NHWC": height, "NCHW": width}[layout]
    if told == "auto" and {channels, other} <= {2, 4}:  # two ways to read it
        with pytest.raises(ValueError, match=r"cannot be told; pass layout='NHWC' or layout="):
            model.fit(X, y, more)
        return
    model.fit(X, y, more)
    assert model.image_shape_ == (channels, height, width)
    check(model, X, plain, n, names)
    same = CLSGANClassifier(**IMAGES, layout=layout)
    same.fit(plain, np.array(y), None if more is None else plain[: len(more)])
    assert np.allclose(model.predict_loss(plain), same.predict_loss(plain), atol=1e-5)


@CASES
@given(st.data())
def test_rows_of_any_form(data):
    draw = data.draw
    n, columns = draw(st.integers(8, 14)), draw(st.integers(1, 6))
    dtype = draw(st.sampled_from(NUMBERS))
    plain = content((n, columns), dtype, draw(st.integers(0, 999)))
    if draw(st.booleans()):
        plain[:, 0] = plain[0, 0]  # a column that tells nothing
    y, names = draw(labels(n))
    X = draw(st.sampled_from(ROW_FORMS))(plain)
    model = CLSGANClassifier(**ROWS).fit(X, y)
    assert model.n_features_in_ == columns and model.image_shape_ is None
    check(model, X, X, n, names)
    same = CLSGANClassifier(**ROWS).fit(np.ascontiguousarray(plain), np.array(y))
    assert np.allclose(model.predict_loss(X), same.predict_loss(plain), atol=1e-4)


def with_value(x, value):
    x = x.astype(float)
    x[len(x) // 2].flat[0] = value
    return x


FLAWS = {  # what is wrong, how, and what the message must match
    "NaN": (lambda x, y: (with_value(x, np.nan), y), "NaN"),
    "infinite": (lambda x, y: (with_value(x, -np.inf), y), "inf"),
    "text": (lambda x, y: (np.full(x.shape, "?"), y), "dtype <U1|string to float.*'\\?'"),
    "complex": (lambda x, y: (x + 1j, y), "Complex data|dtype complex"),
    "no rows": (lambda x, y: (x[:0], y[:0]), r"X is empty: shape \(0, |with 0 sample"),
    "more labels": (lambda x, y: (x[:-1], y), "labels"),
    "fewer labels": (lambda x, y: (x, y[:-1]), "labels"),
    "one class": (lambda x, y: (x, np.full(len(y), y[0])), "one class"),
    "none labeled": (lambda x, y: (x, np.full(len(y), None)), "no labeled row"),
    "continuous": (lambda x, y: (x, np.linspace(0, 1, len(y))), "ontinuous"),
    "two label columns": (lambda x, y: (x, np.stack([y, y], axis=1)), "1d"),
    "NaN among numbers": (
        lambda x, y: (x, np.where(np.arange(len(y)) == 1, np.nan, np.arange(len(y)) % 3)),
        "NaN",
    ),
    "mixed labels": (
        lambda x, y: (x, np.array([1, "a"] * len(y), dtype=object)[: len(y)]),
        "mixes labels",
    ),
    "labels of labels": (
        lambda x, y: (x, [[1], [2, 3]] * (len(y) // 2) + [[1]] * (len(y) % 2)),
        "y must be one label a row",
    ),
}


@CASES
@given(st.data())
def test_a_flaw_is_named_before_training(data):
    draw = data.draw
    n, flaw = draw(st.integers(4, 9)), draw(st.sampled_from(sorted(FLAWS)))
    is_image = draw(st.booleans())
    shape = (n, 4, 5) if is_image else (n, draw(st.integers(1, 4)))
    dtype = draw(st.sampled_from(("uint8", "int64", "float32", "float64")))
    y = np.array(["a", "b"])[np.arange(n) % 2]
    spoil, said = FLAWS[flaw]
    X, y = spoil(content(shape, dtype, draw(st.integers(0, 99))), y)
    model = CLSGANClassifier(**(IMAGES if is_image else ROWS))
    with pytest.raises((ValueError, TypeError), match=said):
        model.fit(X, y)
    assert not hasattr(model, "classes_") and not hasattr(model, "loss_network_")
