"""Steps that could not be taken, and when there are too many of them."""

from collections.abc import Mapping
from typing import Any

MOST_IN_A_ROW = 10
ADVICE = (
    "lower learning_rate, or use precision='32'; a critic without bound needs Lipschitz control "
    "(penalty, clip, spectral_norm)"
)


class SkippedSteps:
    """Counts skipped steps, and ends a run that takes no more.

    Steps are counted by kind (with generated rows, without), each kind in a row of its own: a
    generator that has diverged shows only in the steps in which it takes part.

    Attributes
    ----------
    total : int

    Examples
    --------
    >>> skipped = SkippedSteps()
    >>> skipped.skip("plain", 3, "labeled = nan")
    >>> skipped.take("plain")
    >>> skipped.total
    1
    """

    def __init__(self) -> None:
        self.total = 0
        self.made: dict[str, int] = {}
        self.in_a_row: dict[str, int] = {}
        self.first: dict[str, str] = {}

    def take(self, kind: str) -> None:
        """A step of a kind was taken."""
        self.made[kind] = self.made.get(kind, 0) + 1
        self.in_a_row.pop(kind, None)
        self.first.pop(kind, None)

    def skip(self, kind: str, step: int, reason: str) -> None:
        """A step of a kind was skipped.

        Raises
        ------
        FloatingPointError
            If it is the tenth in a row.
        """
        self.total += 1
        self.made[kind] = self.made.get(kind, 0) + 1
        self.in_a_row[kind] = self.in_a_row.get(kind, 0) + 1
        self.first.setdefault(kind, f"{reason} at step {step}")
        if self.in_a_row[kind] >= MOST_IN_A_ROW:
            self._refuse(kind)

    def finish(self) -> None:
        """The run is over.

        Raises
        ------
        FloatingPointError
            If the second half of the steps of a kind, or more of them, were skipped.
        """
        for kind, count in self.in_a_row.items():
            if 2 * count >= self.made[kind]:
                self._refuse(kind)

    def state_dict(self) -> dict[str, Any]:
        """All counts, as JSON can hold them."""
        names = ("total", "made", "in_a_row", "first")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on counting."""
        self.total = int(state["total"])
        self.made, self.in_a_row = dict(state["made"]), dict(state["in_a_row"])
        self.first = dict(state["first"])

    def _refuse(self, kind: str) -> None:
        raise FloatingPointError(
            f"training diverged: {self.first[kind]}, and no such step could be taken after it "
            f"({self.in_a_row[kind]} were skipped in a row); {ADVICE}"
        )
