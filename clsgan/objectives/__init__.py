"""Objectives as pure functions of tensors, one value per example.

Sign convention: a loss is low on real data and high on generated data.
"""

from clsgan.objectives.loss_sensitive import (
    at_label,
    class_losses,
    hinge_cost,
    leaky_cost,
    loss_sensitive_critic,
    loss_sensitive_generator,
    open_class_losses,
    outlier_probability,
    pixel_margin,
    unlabeled_loss,
)
from clsgan.objectives.systems import OBJECTIVES, Objective, build_objective
from clsgan.objectives.unlabeled import (
    UNLABELED,
    hard_label_loss,
    probability_distance,
    soft_label_loss,
)

__all__ = [
    "OBJECTIVES",
    "UNLABELED",
    "Objective",
    "at_label",
    "build_objective",
    "class_losses",
    "hard_label_loss",
    "hinge_cost",
    "leaky_cost",
    "loss_sensitive_critic",
    "loss_sensitive_generator",
    "open_class_losses",
    "outlier_probability",
    "pixel_margin",
    "probability_distance",
    "soft_label_loss",
    "unlabeled_loss",
]
