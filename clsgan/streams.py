"""The three streams of a run: labeled, unlabeled and generated batches, endless and seeded."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clsgan.augment import Augment
from clsgan.draws import SharedGenerator, own_rows
from clsgan.pools.store import PoolStore


@dataclass(frozen=True)
class BatchSizes:
    """How many rows of each stream one process takes in one step.

    Attributes
    ----------
    labeled, unlabeled, generated : int
    alone : bool
        Whether labeled rows are augmented as in a run without unlabeled ones.

    Examples
    --------
    >>> BatchSizes(labeled=64, unlabeled=192, generated=64).unlabeled
    192
    """

    labeled: int
    unlabeled: int
    generated: int
    alone: bool = False


@dataclass(frozen=True)
class Batch:
    """What one step trains on.

    Attributes
    ----------
    x_lab : Tensor [B, ...]
        Labeled rows, augmented.
    y_lab : Tensor [B], int64
    x_unl : Tensor [U, ...]
        Unlabeled rows, augmented.
    x_teacher : Tensor [U, ...]
        The same unlabeled rows as the teacher sees them.
    z : Tensor [M, Z]
        Standard normal noise for the generator.
    y_gen : Tensor [M], int64
        Classes of the generated rows.
    prior : Tensor [K]
        Class shares that the unlabeled rows are believed to have.
    x_lab_plain : Tensor [B, ...] or None
        The labeled rows as the teacher would see them; where they are asked for.
    class_weight : Tensor [K] or None
        Weight of each class.
    trained : Tensor [K] or None
        Class shares of the labels.

    Examples
    --------
    >>> e = torch.empty(0)
    >>> Batch(e, e, e, e, e, e, e).y_gen.shape
    torch.Size([0])
    """

    x_lab: Tensor
    y_lab: Tensor
    x_unl: Tensor
    x_teacher: Tensor
    z: Tensor
    y_gen: Tensor
    prior: Tensor
    x_lab_plain: Tensor | None = None
    class_weight: Tensor | None = None
    trained: Tensor | None = None


@dataclass(frozen=True)
class ClassShares:
    """What is wanted of the classes beside the shares that the labels have.

    Attributes
    ----------
    weight : Tensor [K] or None
        Weight of each class; 1 each if None.
    pool_prior : Tensor [K] or None
        Shares that the unlabeled rows are believed to have; those of the labels if None.

    Examples
    --------
    >>> ClassShares().weight is None
    True
    """

    weight: Tensor | None = None
    pool_prior: Tensor | None = None


class EndlessSampler:
    """Row indices without end: one random permutation after another.

    Every process draws the same permutations and takes its own share of each batch, so that the
    rows a run sees depend on the seed and the global batch size alone.

    Parameters
    ----------
    n_rows : int
    seed : int
    rank, world_size : int
        This process, and the number of processes.

    Examples
    --------
    >>> sampler = EndlessSampler(5, seed=0)
    >>> sorted(sampler.take(5).tolist()), sampler.take(7).shape
    ([0, 1, 2, 3, 4], torch.Size([7]))
    """

    def __init__(self, n_rows: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.n_rows, self.rank, self.world_size = n_rows, rank, world_size
        self.generator = torch.Generator().manual_seed(seed)
        self.queue = torch.empty(0, dtype=torch.int64)

    def take(self, count: int) -> Tensor:
        """The next `count` indices of this process [count], int64."""
        wanted = count * self.world_size
        if wanted and not self.n_rows:
            raise ValueError(f"{wanted} rows are wanted of a stream without rows")
        while len(self.queue) < wanted:
            fresh = torch.randperm(self.n_rows, generator=self.generator)
            self.queue = torch.cat([self.queue, fresh])
        taken, self.queue = self.queue[:wanted], self.queue[wanted:]
        return taken[self.rank :: self.world_size]

    def shuffled(self, count: int, batches: int) -> Sequence[Tensor]:
        """Indices of this process in an order drawn anew, in `batches` batches at most.

        None of them comes twice; all batches have `count` indices, but for the last.
        """
        order = torch.randperm(self.n_rows, generator=self.generator)
        most = min(self.n_rows // self.world_size, count * batches)
        own = order[: most * self.world_size][self.rank :: self.world_size]
        return [own[start : start + count] for start in range(0, most, count)]


class RowStore:
    """Training rows kept on the device where they fit, else in pinned memory of the host.

    Parameters
    ----------
    rows : Tensor [N, C, H, W] or [N, D]
        uint8 or float32, in the units of the user.
    offset, scale : Tensor
        What networks see is ``(rows - offset) / scale``; shapes that broadcast to one row.
    device : torch.device
    device_share : float
        Largest share of the device's free memory that the rows may take.

    Examples
    --------
    >>> rows = torch.full((3, 1, 2, 2), 255, dtype=torch.uint8)
    >>> half = torch.tensor(127.5)
    >>> store = RowStore(rows, half, half, torch.device("cpu"))
    >>> store.gather(torch.tensor([0, 2])).shape, float(store.gather(torch.tensor([0])).max())
    (torch.Size([2, 1, 2, 2]), 1.0)
    """

    def __init__(
        self,
        rows: Tensor,
        offset: Tensor,
        scale: Tensor,
        device: torch.device,
        device_share: float = 0.5,
    ) -> None:
        self.device = device
        self.offset, self.scale = offset.to(device), scale.to(device)
        if rows.dim() == 4:
            rows = rows.contiguous(memory_format=torch.channels_last)
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            fits = rows.numel() * rows.element_size() < device_share * free
            rows = rows.to(device) if fits else rows
        elif device.type != "cpu":
            rows = rows.to(device)
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def gather(self, index: Tensor) -> Tensor:
        """The rows of an index [B] as networks see them, float32 on the device."""
        if self.rows.device == self.device:
            index = index.to(self.device)
        picked = self._pick(index)
        if picked.device.type == "cpu" and self.device.type == "cuda":
            picked = picked.pin_memory()  # a pinned pool yields batches that are not
        picked = picked.to(self.device, non_blocking=True)
        return (picked.float() - self.offset) / self.scale

    def _pick(self, index: Tensor) -> Tensor:
        """Stored rows; images stay channels_last, which `index_select` on four axes would undo."""
        if self.rows.dim() != 4:
            return self.rows.index_select(0, index)
        return self.rows.permute(0, 2, 3, 1).index_select(0, index).permute(0, 3, 1, 2)


class Streams:
    """Endless batches of the three streams.

    Parameters
    ----------
    labeled : RowStore
    unlabeled : RowStore or PoolStore
        May be empty.
    y : Tensor [N], int64
        Class indices of the labeled rows.
    n_classes : int
    latent_dim : int
        Z, the size of the generator's noise.
    noise : str
        Key of `NOISES`.
    augment, unlabeled_augment, generated_augment, teacher_augment : callable
        (x [B, ...], torch.Generator) -> x of the same shape: for the labeled, the unlabeled and
        the generated rows, and the unlabeled rows as the teacher sees them.
    seed : int
    rank, world_size : int
    classes : ClassShares, optional
        Weights and believed shares of the classes, if not those of the labels.
    keep_plain : bool
        Whether batches have their labeled rows unaugmented too.
    alone_augment : callable, optional
        For labeled rows that are to be augmented as in a run without unlabeled ones; `augment`, if
        not given.

    Examples
    --------
    >>> one = torch.tensor(1.0)
    >>> store = RowStore(torch.eye(4), 0 * one, one, torch.device("cpu"))
    >>> keep = lambda x, generator: x
    >>> y, four = torch.tensor([0, 1, 0, 1]), [keep] * 4
    >>> streams = Streams(store, store, y, 2, 8, "normal", *four, seed=0)
    >>> batch = streams.next(BatchSizes(labeled=2, unlabeled=3, generated=4))
    >>> batch.x_unl.shape, batch.z.shape
    (torch.Size([3, 4]), torch.Size([4, 8]))
    """

    def __init__(
        self,
        labeled: RowStore,
        unlabeled: RowStore | PoolStore,
        y: Tensor,
        n_classes: int,
        latent_dim: int,
        noise: str,
        augment: Augment,
        unlabeled_augment: Augment,
        generated_augment: Augment,
        teacher_augment: Augment,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        classes: "ClassShares | None" = None,
        keep_plain: bool = False,
        alone_augment: Augment | None = None,
    ) -> None:
        self.labeled, self.unlabeled, self.device = labeled, unlabeled, labeled.device
        self.y = y.to(self.device)
        self.latent_dim, self.draw_noise = latent_dim, NOISES[noise]
        self.augment, self.generated_augment = augment, generated_augment
        self.unlabeled_augment = unlabeled_augment
        self.alone_augment = alone_augment or augment
        self.teacher_augment = teacher_augment
        counts = torch.bincount(self.y, minlength=n_classes).float()
        self.prior = counts / counts.sum()
        classes = classes or ClassShares()
        self.class_weight, self.pool_prior = (
            None if shares is None else shares.to(self.device)
            for shares in (classes.weight, classes.pool_prior)
        )
        self.keep_plain = keep_plain
        self.labeled_rows = EndlessSampler(len(labeled), seed, rank, world_size)
        self.unlabeled_rows = EndlessSampler(len(unlabeled), seed + 1, rank, world_size)
        self.generator = SharedGenerator(self.device, rank, world_size)
        self.generator.manual_seed(seed + 2)

    def next(self, sizes: BatchSizes) -> Batch:
        """The next batch of this process.

        Generated rows take the classes of the labeled ones first (eq. 15 pairs G(z, y) with the
        label of its real partner); further ones draw their class from the prior of the labels.
        """
        index = self.labeled_rows.take(sizes.labeled)
        y_lab = self.y[index.to(self.device)]
        labeled = self.labeled.gather(index)
        x_unl = self.labeled.rows.new_empty(0)
        x_teacher = x_unl
        if sizes.unlabeled:
            plain = self._unlabeled_rows(sizes.unlabeled)
            x_unl = self.unlabeled_augment(plain, self.generator)
            x_teacher = self.teacher_augment(plain, self.generator)
        augment = self.alone_augment if sizes.alone else self.augment
        return Batch(
            x_lab=augment(labeled, self.generator),
            y_lab=y_lab,
            x_unl=x_unl,
            x_teacher=x_teacher,
            z=self.noise(sizes.generated),
            y_gen=self.generated_classes(y_lab, sizes.generated),
            prior=self.prior if self.pool_prior is None else self.pool_prior,
            x_lab_plain=self.teacher_augment(labeled, self.generator) if self.keep_plain else None,
            class_weight=self.class_weight,
            trained=self.prior,
        )

    def plain_labeled(self, count: int, batches: int) -> Iterator[Tensor]:
        """Labeled rows as the teacher would see them, none of them twice, in an order drawn anew.

        Yields at most so many batches of `count` rows of this process; as many in every process.
        """
        for index in self.labeled_rows.shuffled(count, batches):
            yield self.teacher_augment(self.labeled.gather(index), self.generator)

    def plain_unlabeled(self, count: int) -> Tensor:
        """The next `count` unlabeled rows of this process as the teacher sees them."""
        return self.teacher_augment(self._unlabeled_rows(count), self.generator)

    def _unlabeled_rows(self, count: int) -> Tensor:
        if isinstance(self.unlabeled, PoolStore):
            return self.unlabeled.take(count)
        return self.unlabeled.gather(self.unlabeled_rows.take(count))

    def noise(self, count: int) -> Tensor:
        """Noise [count, Z] for the generator."""
        return own_rows(
            self.generator,
            count,
            lambda n: self.draw_noise((n, self.latent_dim), self.generator),
        )

    def generated_classes(self, y_lab: Tensor, count: int) -> Tensor:
        """Classes [count] of generated rows: those of `y_lab`, then draws from the prior."""
        extra = count - len(y_lab)
        if extra <= 0:
            return y_lab[:count]
        return torch.cat([y_lab, self.drawn_classes(extra)])

    def drawn_classes(self, count: int) -> Tensor:
        """Classes [count] drawn from the prior of the labels."""
        return own_rows(
            self.generator,
            count,
            lambda n: torch.multinomial(self.prior, n, replacement=True, generator=self.generator),
        )


def normal_noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Standard normal noise on the generator's device.

    Parameters
    ----------
    shape : tuple of int
    generator : torch.Generator

    Returns
    -------
    Tensor

    Examples
    --------
    >>> normal_noise((2, 8), torch.Generator()).shape
    torch.Size([2, 8])
    """
    return torch.randn(shape, generator=generator, device=generator.device, dtype=torch.float32)


def uniform_noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Noise uniform in [-1, 1], as in section 7.2 of arXiv 1701.06264.

    Parameters
    ----------
    shape : tuple of int
    generator : torch.Generator

    Returns
    -------
    Tensor

    Examples
    --------
    >>> float(uniform_noise((2, 8), torch.Generator()).abs().max()) <= 1
    True
    """
    drawn = torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float32)
    return 2 * drawn - 1


NOISES: dict[str, Callable[[tuple[int, ...], torch.Generator], Tensor]] = {
    "normal": normal_noise,
    "uniform": uniform_noise,
}
