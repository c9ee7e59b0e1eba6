"""`LSGAN`: the unconditional Loss-Sensitive GAN, and its relatives, as a density estimator."""

import copy
import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from clsgan.checkpoints.run import Diverged
from clsgan.defaults import resolve_density_settings
from clsgan.fitted_networks import FittedNetworks
from clsgan.fitting import Fitted, fit_networks
from clsgan.objectives.system_row import OUTPUTS
from clsgan.saving import (
    DESIGN,
    keep_last_good,
    kept_on_error,
    warn_interrupted,
)
from clsgan.settings import Settings
from clsgan.training_data import TrainingData, read_density_data

Array = npt.NDArray[Any]

# What the loop asks of an estimator and has no meaning without labels.
FIXED: Mapping[str, Any] = {
    "validation_fraction": 0.0,
    "unlabeled_augment": "auto",
    "predict_views": "plain",
}


class LSGAN(FittedNetworks, DensityMixin, BaseEstimator):
    """Generative model of rows or images: a loss network and a generator, without labels.

    The loss network L(x) is trained to be low on real and high on generated rows, the generator to
    make rows of low loss (Qi, arXiv 1701.06264, eq. 6-7). `objective` names other systems: every
    row of `clsgan.objectives.SYSTEMS`, on the same networks through the same loop.

    Parameters
    ----------
    objective : str
        Key of `clsgan.objectives.SYSTEMS`: "ls_gan", "gls_gan", "wgan", "wgan_gp",
        "least_squares", "lipschitz_gan", "beyond", "relativistic", "non_saturating", "hinge".
    objective_options : dict, optional
        The `options` of its row, such as ``{"cost": "elu"}`` of "ls_gan".
    margin_scale, margin_norm : float, {1, 2}, optional
        Of the margin of "ls_gan" and "gls_gan".
    penalty, penalty_weight, one_sided, penalty_target, steepest_buffer : see `CLSGANClassifier`
    clip, spectral_norm, critic_steps : see `CLSGANClassifier`
        Lipschitz control, and steps of the loss network for each one of the generator.
    loss_network : str or nn.Module
        As in `CLSGANClassifier`; one output, the loss.
    loss_network_options : dict, optional
        None leaves the norms out of "small", "paper" and "mlp": a penalty is on single rows, which
        batch norm mixes.
    generator : str or nn.Module
        As in `CLSGANClassifier`; it is called with class 0.
    generator_options : dict, optional
        Such as ``{"norm": False}`` of "paper" and "mlp".
    latent_dim, noise, max_steps, time_limit, batch_size : see `CLSGANClassifier`
        `max_steps` counts steps of the loss network.
    optimizer, schedule : see `CLSGANClassifier`
    learning_rate, generator_learning_rate : see `CLSGANClassifier`
    weight_decay, generator_weight_decay, average_decay : see `CLSGANClassifier`
    augment, flip, layout, value_range, image_size : see `CLSGANClassifier`
    checkpoint, checkpoint_every, resume : see `CLSGANClassifier`
    accelerator, precision, log_dir : see `CLSGANClassifier`
    log_gradients : bool
        Whether `history_` gets the norm of the generator's gradient over all its parameters, as
        "generator_gradient_norm".
    verbose, random_state : see `CLSGANClassifier`

    Attributes
    ----------
    n_features_in_ : int
    image_shape_ : tuple (C, H, W) or None
    loss_network_, generator_ : nn.Module
        With averaged weights.
    history_ : list of dict
    n_steps_, fit_time_, images_per_second_ : int, float (seconds), float
    n_skipped_steps_, interrupted_ : int, bool
    precision_, device_ : str
    spec_, units_
        Form and units of the training rows.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> model = LSGAN(max_steps=10, random_state=0).fit(X)
    >>> model.sample(5).shape, model.score_samples(X).shape
    ((5, 2), (200,))
    """

    def __init__(
        self,
        objective: str = "ls_gan",
        *,
        objective_options: Mapping[str, Any] | None = None,
        margin_scale: float | None = None,
        margin_norm: int | None = None,
        penalty: str | None = "auto",
        penalty_weight: float | None = None,
        one_sided: bool | None = None,
        penalty_target: float | None = None,
        steepest_buffer: int = 0,
        clip: str | float | None = "auto",
        spectral_norm: bool = False,
        critic_steps: int | None = None,
        loss_network: str | nn.Module = "auto",
        loss_network_options: Mapping[str, Any] | None = None,
        generator: str | nn.Module = "auto",
        generator_options: Mapping[str, Any] | None = None,
        latent_dim: int | None = None,
        noise: str | None = None,
        max_steps: int | None = None,
        time_limit: float | None = None,
        batch_size: int | None = None,
        optimizer: str | None = None,
        schedule: str | None = None,
        learning_rate: float | None = None,
        generator_learning_rate: float | None = None,
        weight_decay: float | None = None,
        generator_weight_decay: float | None = None,
        average_decay: float | None = None,
        augment: Any = "none",
        flip: str | bool = "auto",
        layout: str = "auto",
        value_range: str | tuple[float, float] = "auto",
        image_size: str | int | tuple[int, int] = "auto",
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: float | None = None,
        resume: bool = False,
        accelerator: str = "auto",
        precision: str = "auto",
        log_dir: str | os.PathLike[str] | None = None,
        log_gradients: bool = False,
        verbose: int = 0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.objective = objective
        self.objective_options = objective_options
        self.margin_scale = margin_scale
        self.margin_norm = margin_norm
        self.penalty = penalty
        self.penalty_weight = penalty_weight
        self.one_sided = one_sided
        self.penalty_target = penalty_target
        self.steepest_buffer = steepest_buffer
        self.clip = clip
        self.spectral_norm = spectral_norm
        self.critic_steps = critic_steps
        self.loss_network = loss_network
        self.loss_network_options = loss_network_options
        self.generator = generator
        self.generator_options = generator_options
        self.latent_dim = latent_dim
        self.noise = noise
        self.max_steps = max_steps
        self.time_limit = time_limit
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.schedule = schedule
        self.learning_rate = learning_rate
        self.generator_learning_rate = generator_learning_rate
        self.weight_decay = weight_decay
        self.generator_weight_decay = generator_weight_decay
        self.average_decay = average_decay
        self.augment = augment
        self.flip = flip
        self.layout = layout
        self.value_range = value_range
        self.image_size = image_size
        self.checkpoint = checkpoint
        self.checkpoint_every = checkpoint_every
        self.resume = resume
        self.accelerator = accelerator
        self.precision = precision
        self.log_dir = log_dir
        self.log_gradients = log_gradients
        self.verbose = verbose
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> "LSGAN":
        """Train on rows and on what the generator makes of noise.

        Parameters
        ----------
        X : array [N, D], [N, H, W], [N, H, W, C] or [N, C, H, W], tensor, Dataset, folder or paths
        y : ignored
            For scikit-learn.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If an input or a parameter is not valid; nothing has been trained or written then.
        FloatingPointError
            If training diverges; it names the step, the term and, with `checkpoint`, the folder
            of the last good model. A model that was fitted before stays as it was.
        MemoryError
            If the device runs out of memory.
        BlockingIOError, FileExistsError, OSError
            As `CLSGANClassifier.fit`.

        Examples
        --------
        >>> LSGAN("wgan_gp", max_steps=5).fit([[0.0], [1.0], [2.0]]).n_steps_
        5
        """
        started = time.perf_counter()
        params = self.all_params()
        try:
            with kept_on_error(self):
                data = read_density_data(X, params, self._check_rows)
                settings = resolve_density_settings(params, data.spec)
                seed = int(check_random_state(self.random_state).randint(2**31 - 8))
                fitted = fit_networks(data, settings, params, seed, started)
        except Diverged as error:
            last_good = copy.copy(self)
            last_good._remember(data, settings, error.fitted, params, started)
            raise keep_last_good(last_good, error) from error
        self._remember(data, settings, fitted, params, started)
        return self

    def all_params(self) -> dict[str, Any]:
        """The parameters, with all that the loop asks of an estimator.

        Returns
        -------
        dict

        Examples
        --------
        >>> LSGAN().all_params()["validation_fraction"]
        0.0
        """
        params = {**FIXED, **self.get_params(deep=False)}
        if self.loss_network_options is None and _is_ours(self.loss_network):
            params["loss_network_options"] = {"norm": False}
        return params

    def sample(
        self, n_samples: int = 1, random_state: int | np.random.RandomState | None = None
    ) -> Array:
        """Rows made by the generator.

        Parameters
        ----------
        n_samples : int
        random_state : int, RandomState or None

        Returns
        -------
        array [n_samples, ...]
            In the units, type and layout of the training X.

        Raises
        ------
        NotFittedError
        ValueError
            If `n_samples` is below 1.

        Examples
        --------
        >>> model = LSGAN(max_steps=5).fit([[0.0], [1.0]])
        >>> bool((model.sample(3, random_state=0) == model.sample(3, random_state=0)).all())
        True
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(f"n_samples={n_samples} is not valid; it is at least 1")
        codes = np.zeros(n_samples, dtype=np.int64)
        return self._generated(codes, check_random_state(random_state))

    def score_samples(self, X: Any) -> Array:
        """Minus the loss of each row: high on rows like the training ones.

        It is no log-density; for systems whose critic is high on real rows it is the score itself.

        Parameters
        ----------
        X : any kind of input that `fit` takes

        Returns
        -------
        array [N]

        Raises
        ------
        NotFittedError, ValueError

        Examples
        --------
        >>> LSGAN(max_steps=5).fit([[0.0], [1.0]]).score_samples([[0.5]]).shape
        (1,)
        """
        rows = self._rows(X)[0]
        output, sign = OUTPUTS[self._design["output"]], 1 if self._design["high_on_real"] else -1

        def pick(logits: Tensor, features: Tensor) -> Tensor:
            return sign * output(logits[:, 0])

        return self._forward(rows, pick)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean of `score_samples`.

        Parameters
        ----------
        X : any kind of input that `fit` takes
        y : ignored

        Returns
        -------
        float

        Examples
        --------
        >>> isinstance(LSGAN(max_steps=5).fit([[0.0], [1.0]]).score([[0.5]]), float)
        True
        """
        return float(np.mean(self.score_samples(X)))

    def _remember(
        self,
        data: TrainingData,
        settings: Settings,
        fitted: Fitted,
        params: Mapping[str, Any],
        started: float,
    ) -> None:
        system = settings.objective.system
        design = {name: params[name] for name in DESIGN} | {
            "latent_dim": settings.latent_dim,
            "noise": settings.noise,
            "open_class": settings.objective.open_class,
            "views": "plain",
            "high_on_real": system is not None and system.row.high_on_real,
            "output": "unbounded" if system is None else system.options.get("output", "unbounded"),
        }
        self._keep(data, fitted, design, started)
        warn_interrupted(self)


def _is_ours(name: str | nn.Module) -> bool:
    """Whether the loss network can be built without its norms."""
    return isinstance(name, str) and name in ("auto", "small", "paper", "mlp")
