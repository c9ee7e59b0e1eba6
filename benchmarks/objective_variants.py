"""The arguments of the variants of each study, over those of its data."""

import itertools
from typing import Any

Arguments = dict[str, Any]

# The generator of Table 1 of the LS-GAN paper, for its batch norm; an eighth as wide.
THIN = {"width": 64}
WITH_BATCH_NORM: Arguments = {"generator": "paper", "generator_options": {"norm": True, **THIN}}

PLAIN: Arguments = {"penalty": None, "critic_steps": 1}
DECAY: Arguments = {"weight_decay": 5e-5, "generator_weight_decay": 5e-5}
SYSTEMS: dict[str, Arguments] = {
    "ls_gan": {"objective": "ls_gan"},
    "ls_gan_1step": {"objective": "ls_gan", "critic_steps": 1},
    "ls_gan_weight_decay": {"objective": "ls_gan", **PLAIN, **DECAY},
    "gls_gan": {"objective": "gls_gan"},
    "gls_gan_elu": {"objective": "gls_gan", "objective_options": {"cost": "elu"}},
    "wgan": {"objective": "wgan"},
    "wgan_gp": {"objective": "wgan_gp"},
    "least_squares": {"objective": "least_squares"},
    "lipschitz_gan": {"objective": "lipschitz_gan"},
    "lipschitz_gan_x": {"objective": "lipschitz_gan", "objective_options": {"phi": "x"}},
    "beyond": {"objective": "beyond"},
    "rasgan": {"objective": "relativistic"},
    "non_saturating": {"objective": "non_saturating"},
    "hinge": {"objective": "hinge"},
}
# What the papers print beside the forms above.
VARIANTS: dict[str, Arguments] = {
    **{
        f"gls_gan_slope_{slope:g}": {"objective": "gls_gan", "objective_options": {"slope": slope}}
        for slope in (-1.0, 0.5)
    },
    # the published bound, 0.01, is far below what the weights of the toys start from
    "wgan_clip_0.1": {"objective": "wgan", "clip": 0.1},
    "wgan_lp": {"objective": "wgan_gp", "one_sided": True, "penalty_weight": 1.0},
    **{
        f"ls_gan_{name}": {"objective": "ls_gan", "objective_options": options}
        for name, options in {
            "l2": {"margin_norm": 2},
            "features": {"margin": "features"},
            "all_pairs": {"pairs": "all"},
        }.items()
    },
    "ls_gan_max_buffer": {"objective": "ls_gan", "penalty": "max", "steepest_buffer": 16},
    "least_squares_-1_1_0": {
        "objective": "least_squares",
        "objective_options": {"a": -1.0, "b": 1.0, "c": 0.0},
    },
    **{
        f"lipschitz_gan_{phi}": {"objective": "lipschitz_gan", "objective_options": {"phi": phi}}
        for phi in ("log_sigmoid", "sqrt")
    },
    "lipschitz_gan_buffer": {"objective": "lipschitz_gan", "steepest_buffer": 16},
    **{
        kind: {"objective": "relativistic", "objective_options": {"kind": kind}}
        for kind in ("rsgan", "ralsgan", "rahinge")
    },
    **{
        f"beyond_{name}": {"objective": "beyond", "objective_options": {"critic": critic}}
        for name, critic in {
            "least_squares": "least_squares",
            "wgan_gp": "wasserstein",
            "hinge": "hinge",
        }.items()
    },
}
RESILIENCE = {
    f"{name}-{norm}-{steps}": {
        **WITH_BATCH_NORM,
        **SYSTEMS[name],
        "generator_options": {"norm": norm == "norm", **THIN},
        "critic_steps": steps,
        "log_gradients": True,
    }
    for name, norm, steps in itertools.product(
        ("ls_gan", "ls_gan_weight_decay", "non_saturating"), ("norm", "none"), (1, 3, 5)
    )
}
NORMS = {"norm": (True, True), "none_in_g": (False, True), "none": (False, False)}
LEAST_SQUARES = {
    f"{name}-{norm}-{optimizer}": {
        **WITH_BATCH_NORM,
        "objective": name,
        "generator_options": {"norm": NORMS[norm][0], **THIN},
        "loss_network_options": {"norm": NORMS[norm][1]},
        "optimizer": optimizer,
    }
    for name, norm, optimizer in itertools.product(
        ("least_squares", "non_saturating"), NORMS, ("adam", "rmsprop")
    )
}
KINDS = ("expected_distance", "distance_of_expectations")
BEYOND = {
    kind: {"objective": "beyond", "objective_options": {"critic": "bce", "kind": kind}}
    for kind in (*KINDS, *(f"{kind}_to_label" for kind in KINDS))
} | {name: SYSTEMS[name] for name in ("non_saturating", "wgan_gp")}
CRITICS = {
    f"lipschitz_gan_{phi}": {"objective": "lipschitz_gan", "objective_options": {"phi": phi}}
    for phi in ("x", "exp", "log_sigmoid", "sqrt")
} | {"wgan_gp": SYSTEMS["wgan_gp"]}
GENERALISATION: dict[str, Arguments] = {
    "none": {"penalty": None},
    "weight_decay": {"penalty": None, **DECAY},
    "direct": {"penalty": "direct"},
    "gp": {},
    "max": {"penalty": "max"},
    "spectral_norm": {"penalty": None, "spectral_norm": True},
}
# The margin is the distance itself: with a gradient penalty at 1 the loss network can just keep it.
# The penalty grows with lambda, or it would lose to the hinge.
CONSISTENCY = {
    f"lambda={weight:g}": {
        "objective_options": {"hinge_weight": weight, "output": "absolute"},
        "margin_scale": 1.0,
        "penalty_target": 1.0,
        "penalty_weight": 10 * max(weight, 1.0),
    }
    for weight in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
}
WITHOUT_GENERATOR_STEP = "without the generator's step"
PENALTIES: dict[str, Arguments] = {
    WITHOUT_GENERATOR_STEP: {"critic_steps": 10**6},
    "weight decay": DECAY,
    "clipping": {"clip": 0.1},
    "spectral norm": {"spectral_norm": True},
    "direct": {"penalty": "direct"},
    "direct, squared": {"penalty": "direct_squared"},
    "gp": {"penalty": "gp"},
    "gp, one-sided": {"penalty": "gp", "one_sided": True},
    "max": {"penalty": "max"},
    "max, buffer of 16": {"penalty": "max", "steepest_buffer": 16},
}
PARTED = {name: SYSTEMS[name] for name in ("hinge", "rasgan", "ls_gan", "wgan_gp", "lipschitz_gan")}
# Of `CLSGANClassifier`. Systems train with AdamW; "no_critic" is what they add their critic to.
CLASSIFIERS: dict[str, Arguments] = {
    "default": {},
    "supervised": {"unlabeled": "none", "generator": None},
    "no_critic": {
        "generator": None,
        "label_smoothing": 0.0,
        "outlier_weight": 0.0,
        "unlabeled_outlier_weight": 0.0,
        "optimizer": "adamw",
        "learning_rate": 1e-3,
        "weight_decay": 1e-2,
    },
    "cls_gan": {"objective": "cls_gan"},
    "gls_cls_gan": {
        "objective": "cls_gan",
        "objective_options": {"cost": "leaky", "slope": 0.2},
    },
    **{name: given for name, given in SYSTEMS.items() if not name.startswith("ls_gan_")},
}
