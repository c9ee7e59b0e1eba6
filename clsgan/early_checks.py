"""Parameters are checked before unlabeled rows are opened: listing a large folder takes long."""

from collections.abc import Mapping
from typing import Any

from clsgan.checkpoints.options import check_options
from clsgan.defaults import (
    MANY_ROWS,
    choose_augment,
    choose_network_options,
    choose_unlabeled_augment,
    choose_views,
    has_few_labels,
    resolve_settings,
)
from clsgan.devices import choose_device, choose_precision
from clsgan.inputs import InputSpec
from clsgan.networks import build_generator, build_loss_network


def check_early(params: Mapping[str, Any], spec: InputSpec, n_classes: int, n_rows: int) -> None:
    """Refuse what no number of unlabeled rows can make valid.

    Parameters
    ----------
    params : mapping
        The estimator's parameters.
    spec : InputSpec
        Of the labeled rows.
    n_classes : int
    n_rows : int
        Of X.

    Raises
    ------
    ValueError, TypeError
        As `resolve_settings` and the builders of the parts raise them.

    Examples
    --------
    >>> from clsgan import CLSGANClassifier
    >>> params = CLSGANClassifier(loss_network="smal").get_params()
    >>> check_early(params, InputSpec((1, 8, 8), "NHW", "uint8"), 10, 100)
    Traceback (most recent call last):
    ValueError: loss_network='smal' is not known; did you mean 'small'? ...
    """
    # with more rows the default batch only grows, and labels that may turn out few have the smaller
    # part of it: what is refused here cannot become valid
    few_labels = has_few_labels(n_rows, MANY_ROWS, n_classes)
    settings = resolve_settings(params, spec, n_rows, few_labels)
    device_type = choose_device(params["accelerator"])
    choose_precision(params["precision"], device_type, spec.is_image)
    check_options(params)
    augment, _ = choose_augment(params, spec, has_unlabeled=True)
    choose_unlabeled_augment(params, spec, augment)
    choose_views(params, spec)
    if not settings.generated_batch_size:
        params = {**params, "generator": None}
    options = {**params, "loss_network_options": choose_network_options(params, spec, n_rows)}
    _check_networks(options, spec, n_classes)


def _check_networks(params: Mapping[str, Any], spec: InputSpec, n_classes: int) -> None:
    """Build the networks that are built in: others may be fetched, or are a user's own."""
    name, options = params["loss_network"], params["loss_network_options"]
    if isinstance(name, str) and not name.startswith("timm:"):
        build_loss_network(name, spec.shape, n_classes, options)
    if isinstance(params["generator"], str):
        latent_dim = params["latent_dim"] or 1
        build_generator(
            params["generator"], spec.shape, n_classes, latent_dim, params["generator_options"]
        )
