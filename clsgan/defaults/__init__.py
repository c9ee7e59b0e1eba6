"""What the "auto" and None of the estimators' parameters come to, given the training data."""

from clsgan.defaults.augmentation import (
    PIPELINE_FILES,
    choose_augment,
    choose_unlabeled_augment,
    flips,
)
from clsgan.defaults.control import resolve_control
from clsgan.defaults.few_labels import has_few_labels
from clsgan.defaults.networks import choose_network_options, choose_views
from clsgan.defaults.resolve import resolve_density_settings, resolve_settings
from clsgan.defaults.training import (
    IMAGE_TRAINING,
    MANY_ROWS,
    PAPER_TRAINING,
    default_steps,
)

__all__ = [
    "IMAGE_TRAINING",
    "MANY_ROWS",
    "PAPER_TRAINING",
    "PIPELINE_FILES",
    "choose_augment",
    "choose_network_options",
    "choose_unlabeled_augment",
    "choose_views",
    "default_steps",
    "flips",
    "has_few_labels",
    "resolve_control",
    "resolve_density_settings",
    "resolve_settings",
]
