"""What both estimators are once fitted: two networks that judge rows, are saved and are pickled."""

import copy
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from clsgan.devices import autocast_for
from clsgan.fitting import Fitted
from clsgan.inference import VIEWS, generate_arrays, predict_arrays
from clsgan.inputs import from_nchw
from clsgan.model_folder import read_model, write_model
from clsgan.networks import level_of
from clsgan.saving import describe, restore
from clsgan.streams import NOISES
from clsgan.training_data import TrainingData, check_predictable, read_like

Array = npt.NDArray[Any]


class FittedNetworks:
    """Mixin of `clsgan.CLSGANClassifier` and `clsgan.LSGAN`, left of `BaseEstimator`.

    Examples
    --------
    >>> from clsgan import LSGAN, CLSGANClassifier
    >>> issubclass(LSGAN, FittedNetworks) and issubclass(CLSGANClassifier, FittedNetworks)
    True
    """

    def save(self, folder: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write the fitted model to a folder: weights as safetensors, the rest as JSON.

        Parameters
        ----------
        folder : path
        overwrite : bool
            Whether a model that is there may be replaced.

        Raises
        ------
        NotFittedError
        FileExistsError
            If the folder is not empty, and no model or not to be overwritten.

        Examples
        --------
        >>> import tempfile
        >>> from clsgan import LSGAN
        >>> model = LSGAN(max_steps=5).fit([[0.0], [1.0]])
        >>> with tempfile.TemporaryDirectory() as here:
        ...     model.save(f"{here}/model")
        ...     again = LSGAN.load(f"{here}/model")
        >>> bool((again.score_samples([[0.3]]) == model.score_samples([[0.3]])).all())
        True
        """
        check_is_fitted(self)
        write_model(folder, *describe(self), overwrite=overwrite)

    @classmethod
    def load(cls, folder: str | os.PathLike[str], **parameters: Any) -> Self:
        """Read a model that `save` wrote; nothing in the folder is executed.

        Parameters
        ----------
        folder : path
        **parameters
            Constructor parameters to set; a network that was a module of your own must be given
            again, ``load(folder, loss_network=module)``.

        Returns
        -------
        the estimator
            On the CPU.

        Raises
        ------
        FileNotFoundError
            If the folder or a file of it is missing.
        ValueError
            If a file is corrupt or of a newer format, holds another estimator, or the weights do
            not fit.

        Examples
        --------
        See `save`.
        """
        model: Self = restore(cls, *read_model(folder), parameters)
        return model

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__().copy()  # type: ignore[attr-defined]
        for name in ("loss_network_", "generator_"):
            if isinstance(state.get(name), nn.Module):
                state[name] = copy.deepcopy(state[name]).cpu()
        if "device_" in state:
            state["device_"] = "cpu"
        return state

    def _check_rows(self, X: Any, reset: bool, name: str) -> Array:
        rows: Array = validate_data(
            self, X, reset=reset, dtype=[np.float64, np.float32], accept_sparse=False
        )
        return rows

    def _keep(
        self, data: TrainingData, fitted: Fitted, design: Mapping[str, Any], started: float
    ) -> None:
        """Set what a fit leaves behind, whatever it was for; `started` is its time.perf_counter."""
        self._design = {**design, "level": level_of(fitted.loss_network) is not None}
        self.spec_, self.units_ = data.spec, data.units
        self.image_shape_ = data.spec.shape if data.spec.is_image else None
        self.layout_ = data.spec.layout if data.spec.is_image else None
        self.n_features_in_ = int(np.prod(data.spec.shape))
        if data.spec.is_image and hasattr(self, "feature_names_in_"):
            del self.feature_names_in_  # of rows in an earlier fit
        self.loss_network_, self.generator_ = fitted.loss_network, fitted.generator
        self._n_features_out = fitted.n_features
        self.history_, self.n_steps_ = fitted.history, fitted.n_steps
        self.precision_, self.device_ = fitted.precision, fitted.device_type
        self.n_skipped_steps_, self.interrupted_ = fitted.n_skipped, fitted.interrupted
        self.images_per_second_ = fitted.n_rows_seen / fitted.seconds
        self.fit_time_ = time.perf_counter() - started + fitted.seconds_before

    def _rows(self, X: Any, labelled: bool = False) -> tuple[Array, Array | None]:
        """Checked rows to judge, and the labels that their source carries."""
        check_is_fitted(self)
        rows, labels = read_like(X, self.spec_, "X", self._check_rows, labelled)
        if self.spec_.is_image:
            check_predictable(rows, self.spec_)
        return rows, labels

    def _generated(self, codes: Array, rng: np.random.RandomState) -> Array:
        """A row of the generator for each class code [N], in units, type and layout of X."""
        shape = (len(codes), self._design["latent_dim"])
        seed = int(rng.randint(2**31 - 1))
        noise = NOISES[self._design["noise"]](shape, torch.Generator().manual_seed(seed))
        generator: Any = self.generator_
        made = generate_arrays(generator, noise, torch.from_numpy(codes), self.device_)
        X = self.units_.restore(made, self.spec_)
        X = from_nchw(X, self.spec_.layout) if self.spec_.is_image else X
        return np.ascontiguousarray(X)

    def _forward(self, rows: Array, pick: Callable[[Tensor, Tensor], Tensor]) -> Array:
        """What `pick` takes of logits and features, for every row [N, ...]."""

        def get(part: slice) -> Tensor:
            return torch.from_numpy(self.units_.standardise(rows[part])).to(self.device_)

        autocast = autocast_for(self.precision_, self.device_)
        views = VIEWS[self._design["views"]]
        return predict_arrays(self.loss_network_, get, len(rows), pick, autocast, views)
