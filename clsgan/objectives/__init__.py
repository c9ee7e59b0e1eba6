"""Objectives as pure functions of tensors, one value per example.

Sign convention: a loss is low on real data and high on generated data. Families whose scores are
*high* on real data, as their papers have them, are marked below; for them the classifier takes
minus the score of a class as its loss. Every critic and generator objective is to be minimised.

- `loss_sensitive`, `costs`, `unlabeled`: LS-GAN, GLS-GAN and CLS-GAN
- `open_set`: known against novel rows of a pool; `class_shares`: its class shares
- `wasserstein`: Wasserstein GAN
- `least_squares`: Least Squares GAN (high on real)
- `lipschitz_gan`: Lipschitz GAN (high on real)
- `beyond`: beyond divergence minimization (high on real)
- `relativistic`: relativistic GANs (high on real)
- `adversarial`: non-saturating GAN and hinge GAN (high on real)
- `gan_systems`: all of these as pairs of critic and generator, by name; `system_row` and
  `loss_sensitive_rows`: what their table is made of
- `systems`: the objectives of the classifier by name
"""

from clsgan.objectives.adversarial import (
    hinge_critic,
    hinge_generator,
    non_saturating_critic,
    non_saturating_generator,
)
from clsgan.objectives.beyond import (
    BEYOND_CRITICS,
    BEYOND_KINDS,
    DISTANCES,
    beyond_critic,
    beyond_generator,
    check_beyond,
)
from clsgan.objectives.class_shares import shifted_shares, without_weights
from clsgan.objectives.costs import (
    Cost,
    check_cost,
    elu_cost,
    hinge_cost,
    leaky_cost,
)
from clsgan.objectives.gan_systems import SYSTEMS, build_system
from clsgan.objectives.least_squares import (
    is_chi_squared,
    least_squares_critic,
    least_squares_generator,
)
from clsgan.objectives.lipschitz_gan import (
    PHIS,
    PSIS,
    lipschitz_critic,
    lipschitz_generator,
)
from clsgan.objectives.loss_sensitive import (
    all_pairs_critic,
    at_label,
    class_losses,
    loss_sensitive_critic,
    loss_sensitive_generator,
    open_class_losses,
    outlier_probability,
    pair_margins,
    pixel_margin,
    unlabeled_loss,
)
from clsgan.objectives.open_set import known_share_of_pool, non_negative_risk
from clsgan.objectives.relativistic import (
    RELATIVISTIC,
    relativistic_critic,
    relativistic_generator,
)
from clsgan.objectives.system_row import Pairs, System, SystemRow
from clsgan.objectives.systems import OBJECTIVES, Objective, build_objective
from clsgan.objectives.unlabeled import (
    UNLABELED,
    align_classes,
    hard_label_loss,
    probability_distance,
    rotation_loss,
    soft_label_loss,
)
from clsgan.objectives.wasserstein import wasserstein_critic, wasserstein_generator

__all__ = [
    "BEYOND_CRITICS",
    "BEYOND_KINDS",
    "DISTANCES",
    "OBJECTIVES",
    "PHIS",
    "PSIS",
    "RELATIVISTIC",
    "SYSTEMS",
    "UNLABELED",
    "Cost",
    "Objective",
    "Pairs",
    "System",
    "SystemRow",
    "align_classes",
    "all_pairs_critic",
    "at_label",
    "beyond_critic",
    "beyond_generator",
    "build_objective",
    "build_system",
    "check_beyond",
    "check_cost",
    "class_losses",
    "elu_cost",
    "hard_label_loss",
    "hinge_cost",
    "hinge_critic",
    "hinge_generator",
    "is_chi_squared",
    "known_share_of_pool",
    "leaky_cost",
    "least_squares_critic",
    "least_squares_generator",
    "lipschitz_critic",
    "lipschitz_generator",
    "loss_sensitive_critic",
    "loss_sensitive_generator",
    "non_negative_risk",
    "non_saturating_critic",
    "non_saturating_generator",
    "open_class_losses",
    "outlier_probability",
    "pair_margins",
    "pixel_margin",
    "probability_distance",
    "relativistic_critic",
    "relativistic_generator",
    "rotation_loss",
    "shifted_shares",
    "soft_label_loss",
    "unlabeled_loss",
    "wasserstein_critic",
    "wasserstein_generator",
    "without_weights",
]
