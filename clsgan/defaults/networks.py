"""The size of the loss network, and the views that it predicts from: what "auto" comes to."""

from collections.abc import Mapping
from typing import Any

from clsgan.choices import is_auto, one_of
from clsgan.defaults.augmentation import flips, settled_augment
from clsgan.defaults.training import MANY_ROWS, MANY_ROWS_WIDTHS
from clsgan.inference import VIEWS
from clsgan.inputs import InputSpec


def choose_network_options(
    params: Mapping[str, Any], spec: InputSpec, n_rows: int
) -> Mapping[str, Any] | None:
    """Arguments of the loss network: those given, or for "auto" the widths for this much data.

    Parameters
    ----------
    params : mapping
        The estimator's parameters.
    spec : InputSpec
    n_rows : int
        Labeled and unlabeled rows together.

    Returns
    -------
    mapping or None

    Examples
    --------
    >>> params = {"loss_network": "auto", "loss_network_options": None}
    >>> spec = InputSpec((3, 32, 32), "NHWC", "uint8")
    >>> choose_network_options(params, spec, 40_000), choose_network_options(params, spec, 2_000)
    ({'widths': [64, 128, 256]}, None)
    """
    given: Mapping[str, Any] | None = params["loss_network_options"]
    if given is None and is_auto(params["loss_network"]) and spec.is_image and n_rows >= MANY_ROWS:
        return {"widths": list(MANY_ROWS_WIDTHS)}
    return given


def choose_views(params: Mapping[str, Any], spec: InputSpec) -> str:
    """Views of a row that predictions are averaged over: a key of `clsgan.inference.VIEWS`.

    Parameters
    ----------
    params : mapping
        The estimator's parameters.
    spec : InputSpec

    Returns
    -------
    str
        "auto" is "mirror" where images are mirrored in training, else "plain".

    Raises
    ------
    ValueError
        If the name is unknown, or rows are to be mirrored.

    Examples
    --------
    >>> params = {"predict_views": "auto", "augment": "auto", "flip": "auto"}
    >>> params |= {"objective": "default"}
    >>> choose_views(params, InputSpec((3, 32, 32), "NHWC", "uint8"))
    'mirror'
    """
    wanted = params["predict_views"]
    if wanted == "auto":
        augment = settled_augment(params["augment"], params, spec, from_files=False)
        mirrored = augment != "none" and flips(params["flip"], spec)
        return "mirror" if mirrored else "plain"
    one_of("predict_views", wanted, VIEWS)
    if wanted != "plain" and not spec.is_image:
        raise ValueError(f"predict_views={wanted!r} is for images; for rows it is 'plain'")
    return str(wanted)
