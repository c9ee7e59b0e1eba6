"""Augmentation of each kind of rows: what "auto" comes to."""

from collections.abc import Mapping
from typing import Any

from clsgan.augment import Augment, albumentations_augment, build_augment
from clsgan.choices import is_auto
from clsgan.defaults.training import LIKE_PAPER
from clsgan.inputs import InputSpec

PIPELINE_FILES = (".yaml", ".yml", ".json")


def choose_augment(
    params: Mapping[str, Any], spec: InputSpec, has_unlabeled: bool = False
) -> tuple[Augment, Augment]:
    """Augmentation of the labeled and of the generated rows.

    Parameters
    ----------
    params : mapping
        The estimator's parameters.
    spec : InputSpec
    has_unlabeled : bool
        Whether unlabeled rows are trained on too: "auto" is then "weak" in place of "medium". Of
        grey images that are not mirrored, as digits and letters, it is "strong" in both cases.

    Returns
    -------
    (augment, generated_augment)
        The same, but for albumentations pipelines: no gradient passes them, and generated rows get
        the family "weak".

    Raises
    ------
    ValueError
        If a name is unknown.

    Examples
    --------
    >>> params = {"augment": "auto", "flip": "auto", "objective": "default"}
    >>> real, generated = choose_augment(params, InputSpec((4,), "ND", "float64"))
    >>> real is generated
    True
    """
    wanted = settled_augment(params["augment"], params, spec)
    if is_auto(params["augment"]) and wanted == "medium":
        if spec.shape[0] == 1 and not flips(params["flip"], spec):
            wanted = "strong"
        elif has_unlabeled:
            wanted = "weak"
    augment = _build(wanted, params, spec)
    if _is_family(wanted):
        return augment, augment
    return augment, _build("weak", params, spec)


def choose_unlabeled_augment(
    params: Mapping[str, Any], spec: InputSpec, augment: Augment
) -> Augment:
    """Augmentation of the unlabeled rows that the loss network learns from.

    Parameters
    ----------
    params : mapping
        The estimator's parameters.
    spec : InputSpec
    augment : callable
        That of the labeled rows.

    Returns
    -------
    callable
        "auto" is "strong" where `augment` is "auto" and comes to a family, of grey images that are
        mirrored "medium", but for FixMatch; else `augment`.

    Raises
    ------
    ValueError
        If a name is unknown.

    Examples
    --------
    >>> params = {"unlabeled_augment": "auto", "augment": "none", "objective": "default"}
    >>> keep = lambda x, generator: x
    >>> choose_unlabeled_augment(params, InputSpec((4,), "ND", "float64"), keep) is keep
    True
    """
    wanted = params["unlabeled_augment"]
    if not is_auto(wanted):
        return _build(wanted, params, spec)
    if not is_auto(params["augment"]):
        return augment
    if settled_augment("auto", params, spec) != "medium":
        return augment
    mirrored_grey = spec.shape[0] == 1 and flips(params["flip"], spec)
    medium = mirrored_grey and params.get("unlabeled") != "fixmatch"  # LSGAN has none
    return _build("medium" if medium else "strong", params, spec)


def flips(flip: str | bool, spec: InputSpec) -> bool:
    """Whether to mirror images; "auto" mirrors colour ones: grey ones are often digits, letters.

    Parameters
    ----------
    flip : {"auto", True, False}
    spec : InputSpec

    Returns
    -------
    bool

    Raises
    ------
    ValueError
        If it is another string.

    Examples
    --------
    >>> flips("auto", InputSpec((3, 32, 32), "NHWC", "uint8"))
    True
    """
    if isinstance(flip, str):
        if flip != "auto":
            raise ValueError(f"flip={flip!r} is not valid; choose 'auto', True or False")
        return spec.is_image and spec.shape[0] == 3
    return bool(flip) and spec.is_image


def settled_augment(wanted: Any, params: Mapping[str, Any], spec: InputSpec) -> Any:
    """A family's name or a pipeline: what is wanted, or what "auto" comes to.

    Parameters
    ----------
    wanted : str or pipeline
        As the estimator's parameter `augment`.
    params : mapping
        The estimator's parameters.
    spec : InputSpec

    Returns
    -------
    str or pipeline

    Examples
    --------
    >>> spec = InputSpec((3, 32, 32), "NHWC", "uint8")
    >>> settled_augment("auto", {"objective": "default", "flip": "auto"}, spec)
    'medium'
    """
    if not is_auto(wanted):
        return wanted
    if params["objective"] in LIKE_PAPER or not spec.is_image:
        return "none"
    return "medium"


def _is_family(wanted: Any) -> bool:
    """Whether it names a family of `clsgan.augment`, which gradients pass; else a pipeline."""
    return isinstance(wanted, str) and not wanted.endswith(PIPELINE_FILES)


def _build(wanted: Any, params: Mapping[str, Any], spec: InputSpec) -> Augment:
    if _is_family(wanted):
        return build_augment(wanted, spec.shape, flips(params["flip"], spec))
    return albumentations_augment(wanted)
