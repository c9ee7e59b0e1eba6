"""`CLSGANClassifier`: the conditional Loss-Sensitive GAN as a scikit-learn classifier."""

import copy
import os
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.metrics import accuracy_score
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from clsgan.checkpoints.run import Diverged
from clsgan.defaults import (
    choose_network_options,
    choose_views,
    has_few_labels,
    resolve_settings,
)
from clsgan.early_checks import check_early
from clsgan.fitted_networks import FittedNetworks
from clsgan.fitting import Fitted, fit_networks
from clsgan.inputs import InputSpec
from clsgan.labels import read_labels
from clsgan.objectives import build_objective, outlier_probability
from clsgan.run_parts import wants_level
from clsgan.saving import (
    DESIGN,
    keep_last_good,
    kept_on_error,
    warn_interrupted,
)
from clsgan.settings import Settings
from clsgan.training_data import TrainingData, read_training_data
from clsgan.unlabeled_terms import last_kept_share

Array = npt.NDArray[Any]


class CLSGANClassifier(
    FittedNetworks,
    ClassNamePrefixFeaturesOutMixin,
    ClassifierMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Semi-supervised classifier of images or rows: a conditional Loss-Sensitive GAN.

    One loss network L(x, y) is the classifier, ``predict = argmin_y L(x, y)``. It is trained on
    labeled, unlabeled and generated batches: a real pair must have a smaller loss than a generated
    one by a margin, and the generator G(z, y) makes the losses of its rows small (Qi, arXiv
    1701.06264, eq. 14-18).

    Parameters
    ----------
    objective : {"default", "paper", "cls_gan"} or a key of `clsgan.objectives.SYSTEMS`
        "paper" trains eq. 14-18 as printed, with the paper's optimiser and batch. "default"
        differs: the plain softmax with label smoothing in the labeled term and for prediction, a
        small weight on the margins, and for unlabeled rows the averaged network's sharpened soft
        labels besides eq. 18. "cls_gan" is "paper" with any cost. Of a system such as "wgan_gp" the
        critic's term on (x, y) against (G(z, y), y) takes the place of the margins, with the weight
        `hinge_weight`. See docs/objectives.md.
    objective_options : dict, optional
        Of the system: the `options` of its row, such as ``{"phi": "sqrt"}``; of "cls_gan"
        "cost", "slope" and "alpha".
    penalty : {"auto", "direct", "direct_squared", "gp", "max"} or None
        On the gradient norm of the loss of the true class with respect to the row, in float32: at
        labeled rows; at interpolates with generated ones, with a target; the largest of these.
        "auto" takes the system's own.
    penalty_weight : float, optional
        None takes the system's own; else 10 for "gp", 0.1 for "max", 1 for the others.
    one_sided : bool, optional
        Whether norms below the target are free in "gp". None takes the system's own, else False.
    penalty_target : float, optional
        What "gp" brings norms to. None takes the system's own, else 1.
    steepest_buffer : int
        How many of the steepest points "max" looks at again in the next step.
    clip : "auto", float or None
        Bound of every weight of the loss network, after each of its steps.
    spectral_norm : bool
        Whether each layer of the loss network is divided by its largest singular value.
    critic_steps : int, optional
        Steps of the loss network for each step of the generator.
    hinge_weight, unlabeled_weight, margin_scale : float, optional
        lambda of eq. 15, gamma of the semi-supervised objective, and the factor tau of the margin
        Delta. None takes the objective's own.
    margin_norm : {1, 2}, optional
        Pixel distance of the margin.
    open_class : {"all", "margins", "unlabeled"}, optional
        Where the "1+" softmax of section 6.1 is used; see `clsgan.objectives.Objective`.
    unlabeled_fakes : {"prior", "shared"}, optional
        Whose generated rows stand against unlabeled ones in eq. 18.
    unlabeled_hinge_weight : float, optional
        Weight of eq. 18 inside the unlabeled term.
    label_smoothing : float, optional
        Share of a label's weight that is spread over all classes.
    class_alignment : float, optional
        From 0 to 1: how far soft labels are made to have the class shares of `class_prior`.
    class_prior : {"labels", "uniform", "estimate"} or array [K]
        Class shares that the unlabeled rows are believed to have, in the order of `classes_`:
        those of the labels, equal ones, an estimate by expectation maximisation on the soft labels
        (Saerens et al., 2002), or those given.
    class_weight : dict, "balanced" or None
        Weights of the classes, as in scikit-learn: "balanced" gives each class the same sum of
        weights. They move the scores (logit adjustment, arXiv 2007.07314), not the rows: what a
        network knows by heart does not feel how much it weighs. 0 counts as 1e-4.
    margins_train : {"level", "network"}, optional
        Whether the margins move the level of all class scores alone or the whole loss network.
    outlier_weight, unlabeled_outlier_weight : float, optional
        Weight of the term that makes `outlier_score` high on generated rows, and of unlabeled rows
        among these. Without a generator or `unlabeled_filter` there is no such term, and
        `outlier_score` is one minus the largest class probability.
    unlabeled_filter : {"open-class"} or None
        For unlabeled rows that may be of none of the classes: "open-class" weighs each by
        ``1 - p(none of the classes)`` of the averaged network (section 6.1), which then learns to
        tell labeled from unlabeled rows, less those that are of the classes. With 500 labeled rows
        or more, labeled rows take the place of unlabeled ones where few are of the classes. See
        `unlabeled_kept_share_`.
    rotation_weight : float, optional
        Weight of telling by how many quarter turns unlabeled images were turned (RotNet, arXiv
        1803.07728). None is 1 with 25 labels of a class or fewer and 20,000 unlabeled square
        images or more, in colour or mirrored (`flip`), where `objective`, `unlabeled`,
        `unlabeled_filter` and the augmentation are left as they are and `loss_network` is "auto",
        "small" or "wide_resnet_28_2"; else 0. It needs unlabeled rows, and any `unlabeled` but
        "none".
    cutmix : float, optional
        Share, in [0, 1], of the labeled and unlabeled images of a step that have a box of another
        one put into them, and their targets mixed by the pixels (CutMix, arXiv 1905.04899): from
        `unlabeled_start` to 0.92 of the budget. None is 0. It is meant for long runs
        (docs/ablation.md), and needs images and margins that train the level alone.
    unlabeled : {"auto", "soft_labels", "margin", "pseudo_label", "mean_teacher", "fixmatch", \
            "none"}
        What is asked of unlabeled rows; "auto" takes the objective's own, "none" ignores them.
    loss_network : str or nn.Module
        "small", "paper", "wide_resnet_28_2", "mlp", "timm:<model>", or a module that returns logits
        [B, K] or (logits, features). "auto" is "mlp" for rows and "small" for images, with widths
        (32, 64, 128), and (64, 128, 256) from 20,000 rows on. Where `time_limit` is too short for
        them on this machine's CPU they are narrower: for colour images of 32x32 pixels and batches
        of 256, (32, 64, 128) below 2,000 seconds of one core in float32, 1,000 in bf16 and 300 in
        bf16 with AMX, and (16, 32, 64) below 400, 100 and 100; in proportion for the default batch
        of fewer rows and other sizes of image.
    loss_network_options : dict, optional
        Arguments of the network named, such as ``{"widths": (32, 64, 128)}`` of "small".
    generator : str, nn.Module or None
        "small", "paper", "mlp", or a module (z [B, Z], y [B]) -> x. None turns the generated
        stream off.
    generator_options : dict, optional
        Arguments of the generator named, such as ``{"widths": (128, 64, 32)}`` of "small".
    latent_dim : int, optional
        Size of the noise z: 64, and 100 with ``objective="paper"``.
    noise : {"normal", "uniform"}, optional
        Of the generator: "normal", and "uniform" in [-1, 1] with ``objective="paper"``.
    max_steps : int, optional
    time_limit : float, optional
        Seconds of `fit`, preparations included. The "linear" schedule is fitted to the budget. With
        neither, twenty passes over all rows are made, from 200 to 10,000 steps. A run with a
        `time_limit` cannot be repeated exactly.
    batch_size : int, optional
        Real rows a step, labeled and unlabeled.
    unlabeled_share, unlabeled_start : float, optional
        Share of a batch that is unlabeled, and of the budget after which it is. With a
        `rotation_weight` it is from the first step on, and soft labels come in after that share.
    generated_batch_size, generator_interval : int, optional
        Generated rows in a step, and in how manieth step there are some.
    optimizer : {"sgd", "adam", "adamw", "rmsprop"}, optional
    schedule : {"linear", "step_decay", "constant"}, optional
    learning_rate, generator_learning_rate : float, optional
    weight_decay, generator_weight_decay : float, optional
    average_decay : float, optional
        Of the running average of the weights, which predicts; 0 keeps the last ones.
    augment : {"auto", "none", "weak", "medium", "strong"} or albumentations pipeline
        A pipeline may be an `albumentations.Compose`, its dict form, or a YAML or JSON file.
        "auto" is "weak" where unlabeled rows are trained on, else "medium"; "strong" for grey
        images that are not mirrored.
    unlabeled_augment : as `augment`
        Of the unlabeled rows that the loss network learns from; what gives them their soft labels
        sees them as they are. "auto" is "strong" where `augment` comes to a family by itself
        ("medium" for grey images that are mirrored, but with "fixmatch" "strong"), else the same as
        `augment`.
    flip : {"auto", True, False}
        Whether a mirrored image keeps its class. "auto" mirrors colour images only.
    predict_views : {"auto", "plain", "mirror"}
        "mirror" predicts from the mean scores and features of an image and its mirror image, in
        twice the time. "auto" does so where images are mirrored in training.
    layout : {"auto", "NHW", "NHWC", "NCHW"}
        Order of the axes of image arrays.
    value_range : "auto" or (low, high)
        Values of black and white.
    image_size : "auto", int or (height, width)
        Size to which image files are brought.
    on_error : {"raise", "skip"}
        What `fit` does with an image file or sample that cannot be read: stop, or leave it out and
        list it in `skipped_`.
    minus_one : {"auto", "unlabeled", "class"}
        What the label -1 means. "auto": unlabeled, unless there is just one other label.
    validation_fraction : float
        Share of the labeled rows that is held out; its error is reported in `history_` and as
        `validation_error_`. It decides nothing.
    warm_start : bool
        Go on from the networks of the last `fit`, which must have had the same classes and shape.
    checkpoint : path, optional
        Folder for checkpoints, from which a run that was stopped or killed goes on with
        ``resume=True`` as if nothing had happened; see docs/checkpoints.md. Ctrl-C or SIGTERM then
        ends `fit` after a step, with a model and a warning.
    checkpoint_every : float, optional
        Seconds between two checkpoints; 0 for one after every step. None is a minute, or more if
        saving would else take more than 2 % of the time.
    resume : bool
        Whether to go on from what `checkpoint` holds; where it holds nothing, the run starts.
    accelerator : {"auto", "cpu", "cuda", "mps"}
    precision : {"auto", "32", "bf16", "16"}
        "auto" is bf16 for images where the device has it in hardware, else 32.
    log_dir : path, optional
        Where metrics.jsonl and TensorBoard events are written.
    verbose : int
        Above 0 says what was assumed of the data and shows a progress bar.
    random_state : int, RandomState or None

    Attributes
    ----------
    classes_ : array [K]
    n_features_in_ : int
        Columns of rows; for images the number of their values, C * H * W.
    image_shape_ : tuple (C, H, W) or None
    layout_ : str or None
        Layout of image arrays that was found or given.
    loss_network_, generator_ : nn.Module
        With averaged weights. The generator may be None.
    history_ : list of dict
        Mean of every term over 25 steps each, and ten validation errors if rows were held out.
    n_steps_, fit_time_, images_per_second_ : int, float (seconds), float
        Of all sittings of a run that was resumed.
    n_unlabeled_ : int
        Unlabeled rows; 10^9 for a stream that does not tell.
    n_skipped_steps_ : int
        Steps that were not taken, since a loss or a gradient was NaN or infinite.
    interrupted_ : bool
        Whether Ctrl-C or SIGTERM ended the run.
    validation_error_ : float or None
    unlabeled_kept_share_ : float or None
        Mean weight that `unlabeled_filter` left to the unlabeled rows of the last steps; the run
        of it is "unlabeled_kept" in `history_`.
    skipped_ : list of (str, str)
        Files and samples that `fit` left out, and why; they are not saved.
    precision_, device_ : str
        What was chosen for this machine.
    spec_, units_, class_prior_
        Form, units and class shares of the training rows.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> X_lab, y, X_unlab = digits.images[:100], digits.target[:100], digits.images[100:1000]
    >>> model = CLSGANClassifier(max_steps=30, random_state=0).fit(X_lab, y, X_unlab)
    >>> model.predict(digits.images[1000:]).shape
    (797,)
    """

    _n_test = 0  # rows of a recipe's test, which is part of the time limit there

    def __init__(
        self,
        objective: str = "default",
        *,
        objective_options: Mapping[str, Any] | None = None,
        penalty: str | None = "auto",
        penalty_weight: float | None = None,
        one_sided: bool | None = None,
        penalty_target: float | None = None,
        steepest_buffer: int = 0,
        clip: str | float | None = "auto",
        spectral_norm: bool = False,
        critic_steps: int | None = None,
        hinge_weight: float | None = None,
        unlabeled_weight: float | None = None,
        margin_scale: float | None = None,
        margin_norm: int | None = None,
        open_class: str | None = None,
        unlabeled_fakes: str | None = None,
        unlabeled_hinge_weight: float | None = None,
        label_smoothing: float | None = None,
        class_alignment: float | None = None,
        class_prior: str | Sequence[float] | Array = "labels",
        class_weight: Mapping[Any, float] | str | None = None,
        margins_train: str | None = None,
        outlier_weight: float | None = None,
        unlabeled_outlier_weight: float | None = None,
        unlabeled_filter: str | None = None,
        rotation_weight: float | None = None,
        cutmix: float | None = None,
        unlabeled: str = "auto",
        loss_network: str | nn.Module = "auto",
        loss_network_options: Mapping[str, Any] | None = None,
        generator: str | nn.Module | None = "auto",
        generator_options: Mapping[str, Any] | None = None,
        latent_dim: int | None = None,
        noise: str | None = None,
        max_steps: int | None = None,
        time_limit: float | None = None,
        batch_size: int | None = None,
        unlabeled_share: float | None = None,
        unlabeled_start: float | None = None,
        generated_batch_size: int | None = None,
        generator_interval: int | None = None,
        optimizer: str | None = None,
        schedule: str | None = None,
        learning_rate: float | None = None,
        generator_learning_rate: float | None = None,
        weight_decay: float | None = None,
        generator_weight_decay: float | None = None,
        average_decay: float | None = None,
        augment: Any = "auto",
        unlabeled_augment: Any = "auto",
        flip: str | bool = "auto",
        predict_views: str = "auto",
        layout: str = "auto",
        value_range: str | tuple[float, float] = "auto",
        image_size: str | int | tuple[int, int] = "auto",
        on_error: str = "raise",
        minus_one: str = "auto",
        validation_fraction: float = 0.0,
        warm_start: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: float | None = None,
        resume: bool = False,
        accelerator: str = "auto",
        precision: str = "auto",
        log_dir: str | os.PathLike[str] | None = None,
        verbose: int = 0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.objective = objective
        self.hinge_weight = hinge_weight
        self.unlabeled_weight = unlabeled_weight
        self.margin_scale = margin_scale
        self.margin_norm = margin_norm
        self.open_class = open_class
        self.unlabeled_fakes = unlabeled_fakes
        self.unlabeled_hinge_weight = unlabeled_hinge_weight
        self.label_smoothing = label_smoothing
        self.class_alignment = class_alignment
        self.class_prior = class_prior
        self.class_weight = class_weight
        self.margins_train = margins_train
        self.outlier_weight = outlier_weight
        self.unlabeled_outlier_weight = unlabeled_outlier_weight
        self.unlabeled_filter = unlabeled_filter
        self.rotation_weight = rotation_weight
        self.cutmix = cutmix
        self.unlabeled = unlabeled
        self.objective_options = objective_options
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
        self.unlabeled_share = unlabeled_share
        self.unlabeled_start = unlabeled_start
        self.generated_batch_size = generated_batch_size
        self.generator_interval = generator_interval
        self.optimizer = optimizer
        self.schedule = schedule
        self.learning_rate = learning_rate
        self.generator_learning_rate = generator_learning_rate
        self.weight_decay = weight_decay
        self.generator_weight_decay = generator_weight_decay
        self.average_decay = average_decay
        self.augment = augment
        self.unlabeled_augment = unlabeled_augment
        self.flip = flip
        self.predict_views = predict_views
        self.layout = layout
        self.value_range = value_range
        self.image_size = image_size
        self.on_error = on_error
        self.minus_one = minus_one
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.checkpoint_every = checkpoint_every
        self.resume = resume
        self.accelerator = accelerator
        self.precision = precision
        self.log_dir = log_dir
        self.verbose = verbose
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, X_unlab: Any = None) -> "CLSGANClassifier":
        """Train on labeled rows, unlabeled rows and rows that the generator makes of noise.

        Parameters
        ----------
        X : array [N, D], [N, H, W], [N, H, W, C] or [N, C, H, W], tensor, Dataset, folder or paths
            Numbers of any type; a torch Dataset of images or (image, label); a folder with one
            sub-folder a class; a list of image files or of PIL images.
        y : array [N], optional
            Labels; -1 in numeric ones, None or NaN in object ones, mark unlabeled rows. Not
            needed where X carries labels (class sub-folders, a Dataset of pairs).
        X_unlab : like X, or more rows than memory holds, optional
            Further unlabeled rows; a folder may be flat. Also an .npy file or np.memmap,
            WebDataset shards (a .tar file, a pattern, a list or a folder of them), an iterable
            Dataset, or a stream of the `datasets` library. These, and folders and datasets of
            more than 64 MiB of rows, are read batch by batch. `Unlabeled(X)` keeps
            cross-validation from cutting them into folds.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If an input or a parameter is not valid; nothing has been trained or written then.
        FloatingPointError
            If training diverges, which ten steps in a row with a loss or a gradient that is not
            finite are: it names the step and the term and, with `checkpoint`, the folder of the
            last good model.
        MemoryError
            If the device runs out of memory.
        BlockingIOError, FileExistsError, OSError
            If `checkpoint` is used by another process, holds checkpoints without ``resume=True``,
            or cannot be written.

        Examples
        --------
        >>> rows, y = np.array([[0.0], [0.1], [1.0], [1.1]]), ["no", "no", "yes", "yes"]
        >>> CLSGANClassifier(max_steps=50, random_state=0).fit(rows, y).predict([[0.05], [1.05]])
        array(['no', 'yes'], dtype='<U3')
        """
        started = time.perf_counter()
        params = self.get_params(deep=False)
        with kept_on_error(self):
            data = read_training_data(X, y, X_unlab, params, self._check_rows, check_early)
        n_rows = len(data.labeled) + len(data.unlabeled)
        few_labels = has_few_labels(len(data.labeled), len(data.unlabeled), len(data.classes))
        settings = resolve_settings(params, data.spec, n_rows, few_labels)
        design = self._new_design(settings, data.spec, n_rows)
        previous = self._previous(data, design) if self.warm_start else None
        options = design["loss_network_options"]
        seed = int(check_random_state(self.random_state).randint(2**31 - 8))
        if self.verbose:
            print(self._describe(data), file=sys.stderr)
        try:
            with kept_on_error(self):
                fitted = fit_networks(
                    data, settings, params, seed, started, previous, options, self._n_test
                )
        except Diverged as error:
            last_good = copy.copy(self)
            last_good._remember(data, error.fitted, design, started)
            raise keep_last_good(last_good, error) from error
        self._remember(data, fitted, design, started)
        return self

    def predict(self, X: Any) -> Array:
        """The class of the smallest loss, ``argmin_y L(x, y)``.

        Parameters
        ----------
        X : any kind of input that `fit` takes

        Returns
        -------
        array [N]
            Entries of `classes_`, in the order of X.

        Raises
        ------
        NotFittedError, ValueError

        Examples
        --------
        See `fit`.
        """
        best = self.predict_loss(X).argmin(axis=1)
        return np.asarray(self.classes_[best])

    def predict_loss(self, X: Any) -> Array:
        """Losses L(x, y) of every class, in nats; minus its score where that is high on real rows.

        The latter with systems such as "least_squares" and "hinge", whose critic gives scores.

        Parameters
        ----------
        X : any kind of input that `fit` takes

        Returns
        -------
        array [N, K]
            Columns in the order of `classes_`.

        Raises
        ------
        NotFittedError, ValueError

        Examples
        --------
        >>> model = CLSGANClassifier(max_steps=5).fit([[0.0], [1.0]], [0, 1])
        >>> model.predict_loss([[0.5]]).shape
        (1, 2)
        """
        check_is_fitted(self)
        return self._forward(self._rows(X)[0], self._losses)

    def predict_proba(self, X: Any) -> Array:
        """Class probabilities, the softmax of the class scores.

        Parameters
        ----------
        X : any kind of input that `fit` takes

        Returns
        -------
        array [N, K]
            Columns in the order of `classes_`; rows sum to 1.

        Raises
        ------
        NotFittedError, ValueError

        Examples
        --------
        >>> model = CLSGANClassifier(max_steps=5).fit([[0.0], [1.0]], [0, 1])
        >>> model.predict_proba([[0.5]]).sum().round(6)
        np.float64(1.0)
        """
        scores = self._forward(self._rows(X)[0], lambda logits, features: logits).astype(np.float64)
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(scores / scores.sum(axis=1, keepdims=True))

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Share of the labeled rows that are predicted right.

        Rows marked as unlabeled (-1 if it is not one of `classes_`, None or NaN in object labels)
        are ignored.

        Parameters
        ----------
        X : any kind of input that `fit` takes
        y : array [N], optional
            Not needed where X carries labels.
        sample_weight : array [N], optional

        Returns
        -------
        float

        Raises
        ------
        NotFittedError
        ValueError
            If no row is labeled, or the lengths differ.

        Examples
        --------
        >>> model = CLSGANClassifier(max_steps=50, random_state=0)
        >>> model = model.fit([[0.0], [0.1], [1.0], [1.1]], [0, 0, 1, 1])
        >>> model.score([[0.0], [1.0], [0.5]], [0, 1, -1])
        1.0
        """
        check_is_fitted(self)
        rows, own_labels = self._rows(X, labelled=y is None)
        minus_one = "class" if -1 in self.classes_.tolist() else "unlabeled"
        y, known = read_labels(own_labels if y is None else y, minus_one)
        if not known.any():
            raise ValueError("y has no labeled row to score")
        predicted = self.classes_[self._forward(rows, self._losses).argmin(axis=1)]
        if len(predicted) != len(y):
            raise ValueError(f"X has {len(predicted)} rows, but y has {len(y)} labels")
        if sample_weight is not None and len(sample_weight) != len(y):
            raise ValueError(f"X has {len(y)} rows, but sample_weight has {len(sample_weight)}")
        weight = None if sample_weight is None else np.asarray(sample_weight)[known]
        return float(accuracy_score(y[known], predicted[known], sample_weight=weight))

    def transform(self, X: Any) -> Array:
        """Features of the loss network, those that its class scores are made of.

        Parameters
        ----------
        X : any kind of input that `fit` takes

        Returns
        -------
        array [N, F], float32

        Raises
        ------
        NotFittedError, ValueError

        Examples
        --------
        >>> model = CLSGANClassifier(max_steps=5).fit([[0.0], [1.0]], [0, 1])
        >>> model.transform([[0.5]]).shape[1] == len(model.get_feature_names_out())
        True
        """
        return self._forward(self._rows(X)[0], lambda logits, features: features)

    def outlier_score(self, X: Any) -> Array:
        """Probability that a row belongs to none of the classes, ``1 / (1 + sum_k exp a_k(x))``.

        Parameters
        ----------
        X : any kind of input that `fit` takes

        Returns
        -------
        array [N]
            Between 0 and 1, high for outliers. By default it is one minus the largest class
            probability, corrected by what generated and unlabeled rows taught (docs/ablation.md has
            what that was worth); with `unlabeled_filter` it is learned altogether. Where the level
            has been taken off (``objective="paper"``, a system, ``margins_train="network"``) it is
            made of the scores alone.

        Raises
        ------
        NotFittedError, ValueError

        Examples
        --------
        >>> model = CLSGANClassifier(max_steps=5).fit([[0.0], [1.0]], [0, 1])
        >>> bool(0 < model.outlier_score([[0.5]])[0] < 1)
        True
        """
        return self._forward(self._rows(X)[0], lambda logits, features: outlier_probability(logits))

    def sample(
        self,
        n_samples: int = 1,
        y: Any = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> tuple[Array, Array]:
        """Rows made by the generator.

        Parameters
        ----------
        n_samples : int
        y : label or array of labels [n_samples], optional
            Classes to make; drawn from the class shares of the training labels if not given.
        random_state : int, RandomState or None

        Returns
        -------
        X : array [n_samples, ...]
            In the units, type and layout of the training X.
        y : array [n_samples]

        Raises
        ------
        NotFittedError
        ValueError
            If there is no generator, `n_samples` is below 1, or a label is not in `classes_`.

        Examples
        --------
        >>> model = CLSGANClassifier(max_steps=5).fit([[0.0], [1.0]], [0, 1])
        >>> X, y = model.sample(3, y=1, random_state=0)
        >>> X.shape, y
        ((3, 1), array([1, 1, 1]))
        """
        check_is_fitted(self)
        if self.generator_ is None:
            raise ValueError("the model was fitted with generator=None; it cannot sample")
        if n_samples < 1:
            raise ValueError(f"n_samples={n_samples} is not valid; it is at least 1")
        rng = check_random_state(random_state)
        codes = self._codes_to_sample(n_samples, y, rng)
        return self._generated(codes, rng), self.classes_[codes]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _new_design(self, settings: Settings, spec: InputSpec, n_rows: int) -> dict[str, Any]:
        """What the networks are built of: later changes of parameters do not touch a fitted one."""
        params = self.get_params(deep=False)
        system = settings.objective.system
        design = {name: params[name] for name in DESIGN}
        design["loss_network_options"] = choose_network_options(params, spec, n_rows)
        goes_on = self.warm_start and hasattr(self, "loss_network_")
        if goes_on and params["loss_network_options"] is None and self.loss_network == "auto":
            design["loss_network_options"] = self._design["loss_network_options"]
        if not settings.generated_batch_size:
            design["generator"] = None
        return design | {
            "latent_dim": settings.latent_dim,
            "noise": settings.noise,
            "open_class": settings.objective.open_class,
            "wants_level": wants_level(settings),
            "high_on_real": system is not None and system.row.high_on_real,
            "views": choose_views(params, spec),
        }

    def _previous(
        self, data: TrainingData, design: dict[str, Any]
    ) -> tuple[nn.Module, nn.Module | None] | None:
        if not hasattr(self, "loss_network_"):
            return None
        same = data.spec.shape == self.spec_.shape and list(data.classes) == list(self.classes_)
        if not same:
            raise ValueError(
                f"warm_start=True needs the classes and shape of the last fit, "
                f"{list(self.classes_)} and {self.spec_.shape}; got {list(data.classes)} and "
                f"{data.spec.shape}"
            )
        for name in (*DESIGN, "latent_dim"):
            if design[name] != self._design[name]:
                raise ValueError(
                    f"warm_start=True goes on with the networks of the last fit, which had "
                    f"{name}={self._design[name]!r}; got {design[name]!r}"
                )
        if design["wants_level"] and not self._design.get("wants_level", True):
            raise ValueError(
                "warm_start=True goes on with the networks of the last fit, whose level was taken "
                "off, since the margins or a system trained the whole loss network; keep the "
                "objective and margins_train, or fit without warm_start"
            )
        return copy.deepcopy(self.loss_network_).train(), copy.deepcopy(self.generator_)

    def _remember(
        self, data: TrainingData, fitted: Fitted, design: dict[str, Any], started: float
    ) -> None:
        design = {**design, "loss_network_options": fitted.network_options}
        self._keep(data, fitted, design, started)
        self.classes_ = data.classes
        self.class_prior_ = np.bincount(data.codes) / len(data.codes)
        self.validation_error_ = fitted.validation_error
        self.n_unlabeled_, self.skipped_ = len(data.unlabeled), data.all_skipped()
        self.unlabeled_kept_share_ = last_kept_share(fitted.history)
        if self.skipped_:
            name, reason = self.skipped_[0]
            warnings.warn(
                f"{len(self.skipped_)} images could not be read and were left out, see skipped_; "
                f"the first: {name}: {reason}",
                stacklevel=3,
            )
        warn_interrupted(self)

    def _describe(self, data: TrainingData) -> str:
        """What was assumed of the data, in one line."""
        n, u, spec = len(data.labeled), len(data.unlabeled), data.spec
        if not spec.is_image:
            return f"{n} labeled and {u} unlabeled rows of {spec.shape[0]} columns"
        c, h, w = spec.shape
        how = "assumed from the shape" if self.layout == "auto" else "as given"
        return (
            f"{n} labeled and {u} unlabeled images of {h}x{w} pixels, {c} channel(s); layout "
            f"{spec.layout} ({how}), values {spec.low:g}..{spec.high:g}, "
            f"{len(data.classes)} classes"
        )

    def _losses(self, logits: Tensor, features: Tensor) -> Tensor:
        """L(x, y) [b, K] of the objective; minus the scores of a system that is high on real."""
        if self._design.get("high_on_real", False):
            return -logits
        return build_objective("default", open_class=self._design["open_class"]).losses(logits)

    def _codes_to_sample(self, n_samples: int, y: Any, rng: np.random.RandomState) -> Array:
        if y is None:
            return rng.choice(len(self.classes_), size=n_samples, p=self.class_prior_)
        labels = np.asarray(y)
        if labels.ndim > 1 or (labels.ndim == 1 and len(labels) != n_samples):
            raise ValueError(f"y has shape {labels.shape}; it is one label or [{n_samples}] labels")
        index = {label: code for code, label in enumerate(self.classes_.tolist())}
        wanted = np.broadcast_to(labels, (n_samples,)).tolist()
        unknown = sorted({str(label) for label in wanted if label not in index})
        if unknown:
            raise ValueError(f"y holds {unknown}, not among classes_={self.classes_.tolist()}")
        return np.array([index[label] for label in wanted])
