"""The size of the loss network, and the views that it predicts from: what "auto" comes to."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from clsgan.choices import is_auto, one_of
from clsgan.defaults.augmentation import flips, settled_augment
from clsgan.defaults.training import MANY_ROWS, default_batch
from clsgan.devices import choose_device, choose_precision, matmul_kind
from clsgan.inference import VIEWS
from clsgan.inputs import InputSpec
from clsgan.networks import small_operations

SLIM, NARROW, WIDE = [16, 32, 64], [32, 64, 128], [64, 128, 256]
# Seconds of one core from which each network is ahead of the one before it, by `matmul_kind`, for
# batches of 256 images of 32x32 pixels in colour; figures in docs/ablation.md.
NARROW_FROM = {"amx": 100.0, "bf16": 100.0, "float32": 400.0}
WIDE_FROM = {"amx": 300.0, "bf16": 1_000.0, "float32": 2_000.0}
OF_SHAPE, OF_BATCH = (3, 32, 32), 256


def choose_network_options(
    params: Mapping[str, Any], spec: InputSpec, n_rows: int, n_processes: int = 1
) -> Mapping[str, Any] | None:
    """Arguments of the loss network: those given, or for "auto" the widths for this run.

    Images have a wide one from `MANY_ROWS` on, and narrower ones on a CPU whose `time_limit` is too
    short for it. That is told from the limit, the threads of torch, the precision and what the CPU
    has for it (`matmul_kind`), and how much the network has to do for a batch of the default's;
    nothing is measured, so that it is the same at each call, and no objective or `batch_size`
    changes it, so that they can be compared.

    Parameters
    ----------
    params : mapping
        The estimator's parameters.
    spec : InputSpec
    n_rows : int
        Labeled and unlabeled rows together.
    n_processes : int
        That share the steps.

    Returns
    -------
    mapping or None

    Examples
    --------
    >>> from clsgan import CLSGANClassifier
    >>> params = CLSGANClassifier(accelerator="cpu").get_params()
    >>> spec = InputSpec((3, 32, 32), "NHWC", "uint8")
    >>> choose_network_options(params, spec, 40_000), choose_network_options(params, spec, 2_000)
    ({'widths': [64, 128, 256]}, {'widths': [32, 64, 128]})
    >>> choose_network_options(params | {"time_limit": 1e-3}, spec, 40_000)
    {'widths': [16, 32, 64]}
    """
    given: Mapping[str, Any] | None = params["loss_network_options"]
    if given is not None or not is_auto(params["loss_network"]) or not spec.is_image:
        return given
    batch_size = default_batch(n_rows)
    cores = torch.get_num_threads() * n_processes
    if n_rows >= MANY_ROWS and _has_time(params, spec, batch_size, cores, WIDE, WIDE_FROM):
        return {"widths": list(WIDE)}
    has_time = _has_time(params, spec, batch_size, cores, NARROW, NARROW_FROM)
    return {"widths": list(NARROW if has_time else SLIM)}


def _has_time(
    params: Mapping[str, Any],
    spec: InputSpec,
    batch_size: int,
    cores: int,
    widths: Sequence[int],
    needed: Mapping[str, float],
) -> bool:
    """Whether `time_limit` is long enough for a network, which it is without one and off CPUs."""
    seconds, device_type = params["time_limit"], choose_device(params["accelerator"])
    if seconds is None or device_type != "cpu":
        return True
    precision = choose_precision(params["precision"], device_type)
    work = small_operations(spec.shape, widths) / small_operations(OF_SHAPE, widths)
    least = needed[matmul_kind(precision == "bf16-mixed")]
    return float(seconds) * cores >= least * work * batch_size / OF_BATCH


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
        augment = settled_augment(params["augment"], params, spec)
        mirrored = augment != "none" and flips(params["flip"], spec)
        return "mirror" if mirrored else "plain"
    one_of("predict_views", wanted, VIEWS)
    if wanted != "plain" and not spec.is_image:
        raise ValueError(f"predict_views={wanted!r} is for images; for rows it is 'plain'")
    return str(wanted)
