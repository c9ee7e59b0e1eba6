"""A fitted estimator as tensors and a JSON document, and back."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from clsgan._version import __version__
from clsgan.allocation import LimitedAllocation
from clsgan.choices import one_of, unknown_name
from clsgan.declared import (
    check_numbers,
    check_shape,
    declared_equal,
    read_classes,
    read_spec,
    read_units,
    store_classes,
)
from clsgan.devices import PRECISIONS, own_modes
from clsgan.documents import OMITTED, PAIRS, to_json
from clsgan.inference import VIEWS
from clsgan.model_folder import write_model
from clsgan.networks import build_generator, build_loss_network, remove_level
from clsgan.objectives import build_objective
from clsgan.objectives.system_row import OUTPUTS
from clsgan.processes import from_first
from clsgan.streams import NOISES

NETWORKS = ("loss_network", "generator")
DESIGN = (*NETWORKS, "loss_network_options", "generator_options")
MAX_HISTORY = 2000
LAST_GOOD = "last_good_model"
SPARE_BYTES = 2**24  # what building a network may take beside its weights
TRIED_BYTES = 2**26  # two rows that a network of the user's own may be tried with in any case
REPORTED = ("validation_error_", "unlabeled_kept_share_")  # of classifiers; either may be None
PLAIN = ("n_steps_", "fit_time_", "images_per_second_", "precision_", "n_features_in_")


@contextmanager
def kept_on_error(estimator: Any) -> Iterator[None]:
    """Leave a fitted estimator whole when a block fails: scikit-learn's check of X writes to it.

    Parameters
    ----------
    estimator : CLSGANClassifier or LSGAN

    Examples
    --------
    See `CLSGANClassifier.fit`, which calls it.
    """
    before = dict(estimator.__dict__)
    try:
        yield
    except BaseException:
        if "loss_network_" in before:
            estimator.__dict__.clear()
            estimator.__dict__.update(before)
        raise


def describe(estimator: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Everything that a fitted estimator needs to predict and sample.

    Parameters
    ----------
    estimator : CLSGANClassifier
        Fitted.

    Returns
    -------
    tensors : dict of str to Tensor
    document : dict
        What JSON can hold.

    Examples
    --------
    See `CLSGANClassifier.save`, which calls it.
    """
    tensors = {
        "units.offset": torch.from_numpy(np.atleast_1d(estimator.units_.offset)),
        "units.scale": torch.from_numpy(np.atleast_1d(estimator.units_.scale)),
    }
    if hasattr(estimator, "classes_"):
        tensors["class_prior"] = torch.from_numpy(estimator.class_prior_)
    for name in NETWORKS:
        network = getattr(estimator, f"{name}_")
        if network is not None:
            tensors |= {f"{name}.{key}": t for key, t in network.state_dict().items()}
    fitted = {name: getattr(estimator, name) for name in PLAIN}
    fitted["has_generator"] = estimator.generator_ is not None
    fitted["n_skipped_steps"] = estimator.n_skipped_steps_
    fitted["interrupted"] = estimator.interrupted_
    fitted["n_features_out"] = estimator._n_features_out
    fitted["n_unlabeled"] = getattr(estimator, "n_unlabeled_", None)
    for name in REPORTED:
        fitted[name.removesuffix("_")] = getattr(estimator, name, None)
    names = getattr(estimator, "feature_names_in_", None)
    fitted["feature_names_in"] = None if names is None else list(names)
    document = {
        "estimator": type(estimator).__name__,
        "clsgan": __version__,
        "params": {key: to_json(value) for key, value in estimator.get_params(False).items()},
        "classes": store_classes(getattr(estimator, "classes_", None)),
        "spec": asdict(estimator.spec_),
        "fitted": fitted,
        "design": {key: to_json(value) for key, value in estimator._design.items()},
        "history": _thinned([_finite(record) for record in estimator.history_]),
    }
    return tensors, document


def keep_last_good(estimator: Any, error: FloatingPointError) -> FloatingPointError:
    """Write the model that a diverged run was taken back to into its checkpoint folder.

    Parameters
    ----------
    estimator : CLSGANClassifier or LSGAN
        Fitted.
    error : FloatingPointError
        What ended the run.

    Returns
    -------
    FloatingPointError
        With the place of the model in its message, or why it could not be written.

    Examples
    --------
    See `CLSGANClassifier.fit`, which calls it.
    """
    folder = Path(estimator.checkpoint).expanduser() / LAST_GOOD
    last_good = f"{error}. The last good model, of step {estimator.n_steps_}, is"
    try:
        from_first(lambda: write_model(folder, *describe(estimator), overwrite=True))
    except OSError as problem:
        where = f"its checkpoint stays in {folder.parent}"
        return FloatingPointError(f"{last_good} not kept: {problem}; {where}")
    kind = type(estimator).__name__
    return FloatingPointError(f"{last_good} kept: {kind}.load({str(folder)!r})")


def warn_interrupted(estimator: Any) -> None:
    """Say that Ctrl-C or SIGTERM ended a run, if one did.

    Parameters
    ----------
    estimator : CLSGANClassifier or LSGAN
        Fitted.

    Examples
    --------
    See `CLSGANClassifier.fit`, which calls it.
    """
    if estimator.interrupted_:
        warnings.warn(
            f"stopped by SIGTERM or Ctrl-C after step {estimator.n_steps_}; the model is that of "
            f"this step, and a fit with resume=True goes on from {estimator.checkpoint}",
            stacklevel=4,
        )


def restore(
    estimator_class: Any,
    tensors: dict[str, Tensor],
    document: Mapping[str, Any],
    given: Mapping[str, Any],
) -> Any:
    """A fitted estimator from what `describe` made.

    Parameters
    ----------
    estimator_class : type
    tensors : dict of str to Tensor
    document : mapping
    given : mapping
        Parameters that a document cannot hold, such as networks of the user's own.

    Returns
    -------
    CLSGANClassifier

    Raises
    ------
    ValueError
        If the document lacks something, a network of the user's own is not given, or the weights
        do not fit the networks.

    Examples
    --------
    See `CLSGANClassifier.load`, which calls it.
    """
    try:
        if document.get("estimator", estimator_class.__name__) != estimator_class.__name__:
            raise ValueError(
                f"the folder holds a model of {document['estimator']}; load it with that class"
            )
        estimator = estimator_class(**_parameters(estimator_class, document["params"], given))
        fitted = document["fitted"]
        estimator.spec_ = read_spec(document["spec"])
        check_numbers(fitted, estimator.spec_)
        if document["classes"] is not None:
            estimator.classes_ = read_classes(document["classes"])
        estimator.history_ = list(document["history"])
        estimator._design = _design(document["design"], given)
        for name in PLAIN:
            setattr(estimator, name, fitted[name])
        if estimator.precision_ not in list(filter(None, PRECISIONS.values())):
            raise ValueError(f"the model file has an unknown precision, {estimator.precision_!r}")
        n_features = fitted["n_features_out"]
        if fitted["feature_names_in"] is not None:
            estimator.feature_names_in_ = np.array(fitted["feature_names_in"], dtype=object)
        has_generator = bool(fitted["has_generator"])
        estimator.units_ = read_units(tensors, estimator.spec_)
        if document["classes"] is not None:
            estimator.n_unlabeled_ = fitted.get("n_unlabeled")
            for name in REPORTED:
                setattr(estimator, name, fitted.get(name.removesuffix("_")))
            estimator.class_prior_ = tensors["class_prior"].numpy()
            check_shape("class_prior", estimator.class_prior_, len(estimator.classes_))
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"the model file is not whole: {error!r}") from error
    estimator.image_shape_ = estimator.spec_.shape if estimator.spec_.is_image else None
    estimator.layout_ = estimator.spec_.layout if estimator.spec_.is_image else None
    estimator.device_, estimator.skipped_ = "cpu", []
    estimator.n_skipped_steps_ = int(fitted.get("n_skipped_steps") or 0)
    estimator.interrupted_ = bool(fitted.get("interrupted", False))
    estimator.loss_network_ = _network("loss_network", estimator, tensors)
    estimator._n_features_out = int(cast(Any, estimator.loss_network_).num_features)
    declared_equal("n_features_out", n_features, estimator._n_features_out)
    estimator.generator_ = _network("generator", estimator, tensors) if has_generator else None
    return estimator


def _network(name: str, estimator: Any, tensors: Mapping[str, Tensor]) -> nn.Module:
    design = estimator._design
    part, options = design[name], design[f"{name}_options"]
    shape, n_classes = estimator.spec_.shape, len(getattr(estimator, "classes_", [0]))
    try:
        with _limit(part, shape, design["latent_dim"], tensors), own_modes():
            if name == "loss_network":
                kept = _no_download(options)
                network = build_loss_network(part, shape, n_classes, kept, try_out=False)
                if not design.get("level", True):
                    remove_level(network)
            else:
                network = build_generator(part, shape, n_classes, design["latent_dim"], options)
    except ImportError:
        raise
    except Exception as error:  # every part has errors of its own for what it cannot be built of
        raise ValueError(f"{name}={part!r} with {options} cannot be built: {error}") from error
    state = {
        key.removeprefix(f"{name}."): tensor
        for key, tensor in tensors.items()
        if key.startswith(f"{name}.")
    }
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"the saved weights do not fit {name}={part!r}: {error}") from error
    # as in training: another memory format takes other kernels, and their last digits differ
    return network.to(memory_format=torch.channels_last).eval()


def _limit(
    part: Any, shape: tuple[int, ...], latent_dim: int, tensors: Mapping[str, Tensor]
) -> AbstractContextManager[object]:
    """What building may take: a module that is given is there already, and tries two rows."""
    n_bytes = 4 * sum(tensor.nbytes for tensor in tensors.values()) + SPARE_BYTES
    if not isinstance(part, nn.Module):
        return LimitedAllocation(n_bytes, 20 * len(tensors) + 1000)
    rows = 2 * 4 * max(prod(shape), latent_dim)
    due = max(n_bytes, TRIED_BYTES)
    if rows > due:
        raise ValueError(f"two rows take {rows} bytes where {due} are due")
    return nullcontext()


def _no_download(options: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Options under which a network is built without weights: they come from the folder."""
    return {**options, "pretrained": False} if options and "pretrained" in options else options


def _parameters(
    estimator_class: Any, stored: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    valid = estimator_class().get_params(deep=False)
    for key in given:
        if key not in valid:
            raise ValueError(unknown_name("parameter", key, valid))
    unknown = sorted(set(stored) - set(valid))
    if unknown:
        raise ValueError(f"the model file has parameters that this version has not: {unknown}")
    omitted = {key for key, value in stored.items() if isinstance(value, dict) and OMITTED in value}
    read = {key: _from_json(value) for key, value in stored.items()}
    return {**read, **{key: valid[key] for key in omitted}, **given}


def _from_json(value: Any) -> Any:
    """A parameter as it was before `to_json`: keys of a mapping need not be strings."""
    if isinstance(value, dict) and PAIRS in value:
        return {key: item for key, item in value[PAIRS]}
    return value


def _design(stored: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What the networks are built of; modules of a user's own are taken from what is given."""
    design = dict(stored)
    for key in NETWORKS:
        if isinstance(design[key], dict) and OMITTED in design[key]:
            if key not in given:
                raise ValueError(
                    f"the model was fitted with {key}={design[key][OMITTED]}, a module of its "
                    f"user's own; pass one of the same kind: load(folder, {key}=module)"
                )
            design[key] = given[key]
    one_of("noise", design["noise"], NOISES)
    one_of("predict_views", design["views"], VIEWS)
    if "output" in design:
        one_of("output", design["output"], OUTPUTS)
    build_objective("default", open_class=design["open_class"])
    return design


def _thinned(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most 2,000 records, evenly spaced, the last one among them."""
    if len(history) <= MAX_HISTORY:
        return history
    kept = np.unique(np.linspace(0, len(history) - 1, MAX_HISTORY).round().astype(int))
    return [history[i] for i in kept]


def _finite(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value if np.isfinite(value) else str(value) for key, value in record.items()}
