"""The size of the loss network, and the views that it predicts from: what "auto" comes to."""

from collections.abc import Mapping
from typing import Any

import torch

from clsgan.choices import is_auto, one_of
from clsgan.defaults.augmentation import flips, settled_augment
from clsgan.defaults.training import MANY_ROWS, MANY_ROWS_WIDTHS
from clsgan.devices import choose_device, choose_precision, has_hardware_bf16
from clsgan.inference import VIEWS
from clsgan.inputs import InputSpec
from clsgan.networks import small_operations

# Seconds of one core from which the wide network is ahead of the narrow one, for images of 32x32
# pixels in colour; figures in docs/ablation.md.
WIDE_FROM = {"bf16": 300.0, "float32": 2_000.0}
OF_SHAPE = (3, 32, 32)


def choose_network_options(
    params: Mapping[str, Any], spec: InputSpec, n_rows: int, short: bool = False
) -> Mapping[str, Any] | None:
    """Arguments of the loss network: those given, or for "auto" the widths for this much data.

    Parameters
    ----------
    params : mapping
        The estimator's parameters.
    spec : InputSpec
    n_rows : int
        Labeled and unlabeled rows together.
    short : bool, default=False
        Whether the time is too short for the wide network (`is_short`).

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
    many = spec.is_image and n_rows >= MANY_ROWS
    if given is None and is_auto(params["loss_network"]) and many and not short:
        return {"widths": list(MANY_ROWS_WIDTHS)}
    return given


def is_short(params: Mapping[str, Any], spec: InputSpec, n_processes: int = 1) -> bool:
    """Whether `time_limit` is too short for the wide network, on this machine's CPU.

    Told from the limit, the threads of torch, the precision and how much the network has to do for
    an image; nothing is measured, so that it is the same at each call.

    Parameters
    ----------
    params : mapping
        The estimator's parameters.
    spec : InputSpec
        Of images.
    n_processes : int, default=1
        That share the steps.

    Returns
    -------
    bool
        False on other devices, and where there is no limit of time.

    Examples
    --------
    >>> params = {"time_limit": 1e-3, "accelerator": "cpu", "precision": "32"}
    >>> spec = InputSpec((3, 32, 32), "NHWC", "uint8")
    >>> is_short(params, spec), is_short(params | {"time_limit": None}, spec)
    (True, False)
    """
    seconds, device_type = params["time_limit"], choose_device(params["accelerator"])
    if seconds is None or device_type != "cpu" or not spec.is_image:
        return False
    bf16 = choose_precision(params["precision"], device_type) == "bf16-mixed"
    kind = "bf16" if bf16 and has_hardware_bf16(device_type) else "float32"
    work = small_operations(spec.shape, MANY_ROWS_WIDTHS)
    work_there = small_operations(OF_SHAPE, MANY_ROWS_WIDTHS)
    core_seconds = float(seconds) * torch.get_num_threads() * n_processes
    return core_seconds < WIDE_FROM[kind] * work / work_there


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
