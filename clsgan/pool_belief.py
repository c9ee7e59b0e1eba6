"""What a run has come to believe of its unlabeled rows: their classes, and how many are known."""

from dataclasses import dataclass

import torch
from torch import Tensor

from clsgan.objectives import known_share_of_pool, shifted_shares

SCORES_KEPT = 1024
LEAST_SCORES = 256  # of either kind, below which nothing is estimated
FOLLOWING = 0.02  # weight of the newest batch in the running estimate of class shares


@dataclass
class PoolBelief:
    """Running estimates from the scores of recent rows; tensors, so that they can be saved.

    Attributes
    ----------
    known_share : float
        Share of the pool that is of the known classes.
    class_shares : Tensor [K] or None
        Estimated class shares of the pool.
    labeled_scores, pool_scores : Tensor [N] or None
        The latest scores ``log sum_k exp a_k`` of labeled and of unlabeled rows.
    by_held_out : bool
        Whether the known share was estimated by labeled rows that the level did not learn from.

    Examples
    --------
    >>> belief = PoolBelief()
    >>> for _ in range(4):
    ...     belief.see_scores(torch.linspace(2, 3, 100), torch.linspace(-3, -2, 100))
    >>> belief.known_share
    0.0
    """

    known_share: float = 1.0
    class_shares: Tensor | None = None
    labeled_scores: Tensor | None = None
    pool_scores: Tensor | None = None
    by_held_out: bool = False

    def see_scores(self, labeled: Tensor, pool: Tensor) -> None:
        """Take scores [B], [U] of new rows into the estimate of the known share."""
        self.labeled_scores = _latest(self.labeled_scores, labeled)
        self.pool_scores = _latest(self.pool_scores, pool)
        if min(len(self.labeled_scores), len(self.pool_scores)) >= LEAST_SCORES:
            self.known_share = known_share_of_pool(self.labeled_scores, self.pool_scores)

    def agreed_share(self) -> float:
        """The known share where rows held out tell it, the same in all processes; else 1."""
        return self.known_share if self.by_held_out else 1.0

    def see_classes(self, probabilities: Tensor, trained: Tensor) -> Tensor:
        """Take class probabilities [U, K] of a network into the estimate of the class shares [K].

        `trained` [K] are the class shares under which the network was trained.
        """
        believed = trained if self.class_shares is None else self.class_shares
        newest = shifted_shares(probabilities, trained, believed)
        self.class_shares = torch.lerp(believed, newest, FOLLOWING)
        return self.class_shares


def _latest(kept: Tensor | None, new: Tensor) -> Tensor:
    joined = new.detach() if kept is None else torch.cat([kept, new.detach()])
    return joined[-SCORES_KEPT:]
