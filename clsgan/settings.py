"""What the training loop needs to know."""

import math
from dataclasses import dataclass

from clsgan.objectives import Objective
from clsgan.streams import BatchSizes

MOST_HALVINGS = 3  # of the unlabeled rows of a batch, where few of the pool are of a known class


@dataclass(frozen=True)
class Settings:
    """What the loop needs to know, resolved from the estimator's parameters.

    Attributes
    ----------
    objective : Objective
    batch_size : int
        Real rows a step, over all processes.
    unlabeled_share : float
        Share of them that are unlabeled once the unlabeled stream is on.
    unlabeled_start : float
        Share of the budget after which it is on; with a `rotation_weight` it is on from the first
        step, and has nothing but turned images until then.
    generated_batch_size : int
        Generated rows a step, over all processes; 0 turns the generated stream off.
    generator_interval : int
        The generated stream takes part in every so many steps.
    optimizer, schedule : str
        Keys of `OPTIMIZERS` and of `clsgan.schedules.SCHEDULES`.
    learning_rate, generator_learning_rate, average_decay : float
    weight_decay, generator_weight_decay : float
    latent_dim : int
    noise : str
        Key of `clsgan.streams.NOISES`.
    conditional : bool
        Whether rows have classes; without, the loss network has a single output.
    critic_steps : int
        Steps of the loss network for each one of the generator.
    penalty : str or None
        Key of `clsgan.penalty_terms.PENALTIES`.
    penalty_weight : float
    one_sided : bool
        Whether gradient norms below the target are free in the penalty "gp".
    penalty_target : float
        What gradient norms are brought to in the penalty "gp".
    steepest_buffer : int
        Points that the penalty "max" looks at again in the next step.
    clip : float or None
        Bound of the loss network's weights after each of its steps.
    spectral_norm : bool
        Whether the layers of the loss network are divided by their largest singular value.
    log_gradients : bool
        Whether the norm of the generator's gradient is logged.

    Examples
    --------
    >>> from clsgan.objectives import OBJECTIVES
    >>> Settings(OBJECTIVES["paper"]).sizes(0.0, has_unlabeled=True, world_size=1)
    BatchSizes(labeled=64, unlabeled=192, generated=64, alone=False)
    """

    objective: Objective
    batch_size: int = 256
    unlabeled_share: float = 0.75
    unlabeled_start: float = 0.0
    generated_batch_size: int = 64
    generator_interval: int = 1
    optimizer: str = "sgd"
    schedule: str = "linear"
    learning_rate: float = 0.2
    generator_learning_rate: float = 1e-3
    weight_decay: float = 5e-4
    generator_weight_decay: float = 0.0
    average_decay: float = 0.99
    latent_dim: int = 64
    noise: str = "normal"
    conditional: bool = True
    critic_steps: int = 1
    penalty: str | None = None
    penalty_weight: float = 0.0
    one_sided: bool = False
    penalty_target: float = 1.0
    steepest_buffer: int = 0
    clip: float | None = None
    spectral_norm: bool = False
    log_gradients: bool = False

    def sizes(
        self, progress: float, has_unlabeled: bool, world_size: int, known_share: float = 1.0
    ) -> BatchSizes:
        """Rows of each stream for one process at a point of the run.

        Where less than half of the pool is of a known class (`known_share`), labeled rows take the
        place of unlabeled ones, which teach little there: these are halved up to three times, and
        labeled rows are augmented as in a run without unlabeled ones.
        """
        rows = max(self.batch_size, 2)
        on = progress >= self.unlabeled_start or self.objective.rotation_weight > 0
        on = on and has_unlabeled
        unlabeled = min(round(rows * self.unlabeled_share), rows - 1) if on else 0
        halvings = _halvings(known_share) if on else 0
        for _ in range(halvings):
            if unlabeled % (2 * world_size) == 0:  # all processes have as many
                unlabeled //= 2
        parts = (rows - unlabeled, unlabeled, self.generated_batch_size)
        labeled, unlabeled, generated = (part // world_size for part in parts)
        return BatchSizes(labeled, unlabeled, generated, alone=halvings > 0)

    def check_shares(self, world_size: int, has_unlabeled: bool = False) -> None:
        """Refuse batches that so many processes cannot share alike, stream by stream."""
        for name in ("batch_size", "generated_batch_size"):
            rows = getattr(self, name)
            if rows % world_size:
                raise ValueError(
                    f"{name}={rows} rows cannot be shared alike by {world_size} processes; choose "
                    f"a multiple of {world_size}"
                )
        whole = self.sizes(1.0, has_unlabeled, world_size=1)
        if whole.labeled % world_size or whole.unlabeled % world_size:
            raise ValueError(
                f"batch_size={self.batch_size} and unlabeled_share={self.unlabeled_share} make "
                f"{whole.labeled} labeled and {whole.unlabeled} unlabeled rows, which cannot be "
                f"shared alike by {world_size} processes; choose multiples of {world_size}"
            )


def _halvings(known_share: float) -> int:
    """How often twice the share, at most 1, is the half of 1, rounded; 3 at most."""
    wanted = min(max(2 * known_share, 0.5**MOST_HALVINGS), 1.0)
    return round(-math.log2(wanted))
