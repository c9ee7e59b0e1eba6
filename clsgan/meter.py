"""Means of the terms between two lines of the log."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from clsgan.processes import mean_of_all
from clsgan.runlog import RunLog
from clsgan.schedules import Budget

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LOG_EVERY = 25


class Meter:
    """Means of the terms since the last line of the log, and the speed.

    Parameters
    ----------
    log : RunLog
    budget : Budget
    fabric : Fabric, optional
        Where several processes take the steps: what is written are means over all of them.

    Examples
    --------
    >>> log = RunLog()
    >>> meter = Meter(log, Budget(max_steps=2))
    >>> for step, loss in ((1, 0.5), (2, 1.5)):
    ...     meter.add(step, {"labeled": torch.tensor(loss)}, images=8)
    >>> meter.flush(2)
    >>> log.records[0]["labeled"]
    1.0
    """

    def __init__(self, log: RunLog, budget: Budget, fabric: "Fabric | None" = None) -> None:
        self.log, self.budget, self.fabric = log, budget, fabric
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.images, self.skipped, self.since = 0, 0, budget.elapsed()

    def add(
        self, step: int, scalars: Mapping[str, Tensor], images: int, skipped: bool = False
    ) -> None:
        """Count a step; every 25 steps a line is written."""
        for name, value in scalars.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(value)) + value
            self.counts[name] = self.counts.get(name, 0) + 1
        self.images += images
        self.skipped += skipped
        if step % LOG_EVERY == 0:
            self.flush(step)

    def flush(self, step: int) -> None:
        """Write a line, if there is anything to write."""
        if not self.sums and not self.skipped:
            return
        means = {name: float(total) / self.counts[name] for name, total in self.sums.items()}
        if self.fabric is not None:
            means = mean_of_all(self.fabric, means)
        counts = {"skipped_steps": self.skipped} if self.skipped else {}
        now = self.budget.elapsed()
        speed = self.images / max(now - self.since, 1e-9)
        self.log.write(step, **means, **counts, images_per_second=speed, seconds=now)
        shown = means.get("labeled", means.get("critic", math.nan))
        text = f"loss {shown:.2f} · {speed:,.0f} images/s"
        self.log.update(self.budget.progress(step), text)
        self.sums, self.counts = {}, {}
        self.images, self.skipped, self.since = 0, 0, now

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The sums, and the counts as JSON can hold them."""
        numbers = {"counts": dict(self.counts), "images": self.images, "skipped": self.skipped}
        return dict(self.sums), numbers | {"seconds": self.budget.elapsed() - self.since}

    def load_state_dict(self, sums: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Go on with what `state_dict` gave."""
        self.sums, self.counts = dict(sums), dict(numbers["counts"])
        self.images, self.skipped = int(numbers["images"]), int(numbers["skipped"])
        self.since = self.budget.elapsed() - float(numbers["seconds"])
