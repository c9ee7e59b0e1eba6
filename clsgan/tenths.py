"""What a run does at every tenth of it, where there is time: learns its level anew, validates."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import nn

from clsgan.level_refit import refit_level, refit_pays, seconds_to_refit_last
from clsgan.runlog import RunLog
from clsgan.schedules import Budget
from clsgan.settings import Settings
from clsgan.streams import Streams
from clsgan.train_state import TrainState

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Tenths:
    """Told of every step, it does what is due at a tenth of the budget.

    Nothing is begun that would leave too little of a time limit for what follows the last step.

    Parameters
    ----------
    fabric : Fabric
    state : TrainState
    streams : Streams
    settings : Settings
    budget : Budget
        Keeps back what a refit of the level took, for the last one.
    log : RunLog
    validate : callable or None
        Error rate of a network on held-out labeled rows.

    Examples
    --------
    See `clsgan.trainer.train`.
    """

    def __init__(
        self,
        fabric: "Fabric",
        state: TrainState,
        streams: Streams,
        settings: Settings,
        budget: Budget,
        log: RunLog,
        validate: Callable[[nn.Module], float] | None,
    ) -> None:
        self.fabric, self.state, self.streams, self.settings = fabric, state, streams, settings
        self.budget, self.log, self.validate = budget, log, validate
        self.tenth = int(10 * budget.progress(state.step)) if state.step else 0
        self.refits = 0.0  # seconds

    def after_step(self) -> None:
        """Do what is due after the step that was just made."""
        progress, state = self.budget.progress(self.state.step), self.state
        if int(10 * progress) <= self.tenth:
            return
        self.tenth = int(10 * progress)
        filtered = self.settings.objective.unlabeled_filter is not None
        if filtered and self.tenth < 10 and self._refit_fits():
            self._refit(progress)
        if self.validate is not None and self.budget.has_room("validation"):
            error = self.validate(state.average_loss_network.module)
            self.log.write(state.step, validation_error=error)

    def _refit_fits(self) -> bool:
        return refit_pays(self.budget, self.refits) and self.budget.has_room("level")

    def _refit(self, progress: float) -> None:
        began = time.perf_counter()
        learned = refit_level(self.fabric, self.state, self.streams, self.settings)
        took = time.perf_counter() - began
        self.refits += took
        if learned and self.budget.time_limit is not None:
            last = seconds_to_refit_last(took, self.state.step, progress)
            self.budget.reserve["level"] = last
