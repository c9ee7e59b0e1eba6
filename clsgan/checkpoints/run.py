"""A run that is saved while it trains: taken up where it was left, ended without loss.

Several processes save together: each hands over what it has of its own; the first one has the
folder and writes.
"""

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from clsgan.checkpoints.file import (
    PARTIAL,
    Checkpoint,
    checkpoint_files,
    read_newest,
    set_aside_later,
    write_checkpoint,
)
from clsgan.checkpoints.fingerprint import describe_run, differences
from clsgan.checkpoints.interrupts import Interrupts
from clsgan.checkpoints.options import check_options
from clsgan.checkpoints.parts import check_count, gather_parts, own_part
from clsgan.checkpoints.snapshot import Index, Sitting, apply, capture
from clsgan.folder_lock import FolderLock
from clsgan.processes import any_of, from_first, place, sent_to_first
from clsgan.step_check import check_finite
from clsgan.training_data import TrainingData

EVERY = 60.0  # seconds
SHARE = 0.02  # of the time that saving may take, unless it is told how often


class Diverged(FloatingPointError):
    """A run diverged, and was taken back to its last good checkpoint.

    Attributes
    ----------
    fitted : Fitted or None
        What `fit_networks` makes of that checkpoint.

    Examples
    --------
    >>> Diverged("labeled = nan at step 3").fitted is None
    True
    """

    fitted: Any = None


class Checkpoints:
    """The checkpoints of one run, in a folder that no other run writes to meanwhile.

    Parameters
    ----------
    folder : path
        Made where it is not there.
    every : float or None
        Seconds between two checkpoints, 0 for one after every step. None is a minute, or more if
        saving would else take more than 2 % of the time.
    resume : bool
        Whether to go on from what the folder holds; where it holds nothing, the run starts.
    run : dict
        As `describe_run` makes it.

    Attributes
    ----------
    saved : Checkpoint or None
        What the run goes on from.

    Raises
    ------
    BlockingIOError
        On entering, if another process is training into the folder.
    FileExistsError
        On entering, if there are checkpoints and `resume` is False.
    ValueError
        On entering, if the checkpoint is of another run; the message names what differs.
    OSError
        If the folder cannot be written to.
    OtherProcessError
        In the other processes, where any of these is raised in the first one.

    Examples
    --------
    See `clsgan.fitting.fit_networks`.
    """

    def __init__(self, folder: Any, every: float | None, resume: bool, run: dict[str, Any]) -> None:
        self.folder, self.every, self.resume = Path(folder).expanduser(), every, resume
        self.described, self.lock = run, FolderLock(self.folder)
        self.saved: Checkpoint | None = None
        self.saved_step = -1
        self.saved_at, self.took = time.perf_counter(), 0.0

    def __enter__(self) -> "Checkpoints":
        described = sent_to_first(self.described)  # each process looks at its own rows
        saved = from_first(lambda: self._take(described))
        self.saved = None if saved is None else own_part(saved, place()[0])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if place()[0] == 0:
            self.lock.__exit__(kind, error, trace)

    def seed(self, fresh: int) -> int:
        """The seed of the run that goes on, else a fresh one."""
        return fresh if self.saved is None else int(self.saved.document["seed"])

    def network_options(self, fresh: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """What the network of the run that goes on was built with, where that was chosen for it."""
        saved = None if self.saved is None else self.saved.document.get("network_options")
        return fresh if saved is None else dict(saved)

    def rows(self) -> tuple[Index, Index] | None:
        """Labeled rows to train on and those held out, of the run that goes on."""
        if self.saved is None:
            return None
        tensors = self.saved.tensors
        return tensors["rows.train"].numpy(), tensors["rows.validation"].numpy()

    def seconds(self) -> float:
        """Seconds that earlier sittings of the run took."""
        return 0.0 if self.saved is None else float(self.saved.document["budget"]["elapsed"])

    def run(self, sitting: Sitting, loop: Callable[[Callable[[], bool]], None]) -> bool:
        """Train, and save now and then, at the start and at the end.

        Parameters
        ----------
        sitting : Sitting
        loop : callable
            Trains; calls what it is given after every step, and stops where that is False.

        Returns
        -------
        bool
            Whether Ctrl-C or SIGTERM ended it.

        Raises
        ------
        Diverged
            If the run diverged; it was taken back to the last checkpoint.
        """
        self._begin(sitting)
        stopped = [False]
        with Interrupts() as interrupts:

            def keep_going() -> bool:
                due = place()[0] == 0 and self._is_due()  # all go by the clock of the first
                stop, due = any_of(sitting.fabric, interrupts.asked, due)
                stopped[0] = stop
                if due and not stop:
                    self.save(sitting)
                return not stop

            try:
                loop(keep_going)
                check_finite(sitting.state)
            except FloatingPointError as error:
                self._go_back(sitting)
                raise Diverged(str(error)) from error
            except KeyboardInterrupt:
                if interrupts.insisted or place()[1] > 1:
                    raise
                stopped[0] = True  # by a handler of the user's own, perhaps amid a step
                self._go_back(sitting)
        self.save(sitting)
        return stopped[0]

    def save(self, sitting: Sitting) -> None:
        """Write a checkpoint, unless that of this step is there.

        Parameters
        ----------
        sitting : Sitting

        Raises
        ------
        FloatingPointError
            If an averaged weight is not finite; nothing is written then.
        OSError
            If it cannot be written.
        """
        if sitting.state.step == self.saved_step:
            return
        check_finite(sitting.state)
        started = time.perf_counter()
        tensors, document = capture(sitting)
        whole = gather_parts(tensors, document | {"run": self.described})
        from_first(lambda: write_checkpoint(self.folder, sitting.state.step, *whole))
        self.saved_at, self.saved_step = time.perf_counter(), sitting.state.step
        self.took = self.saved_at - started
        larger = 1 if sitting.state.step else 2  # later ones hold the moments of the optimisers too
        sitting.budget.reserve["checkpoint"] = larger * self.took

    def _take(self, described: list[dict[str, Any]]) -> Checkpoint | None:
        """Have the folder for this run alone, and what lies in it."""
        self.lock.__enter__()
        try:
            for partial in self.folder.glob(PARTIAL):  # of a process that was killed
                if partial.is_dir():
                    shutil.rmtree(partial, ignore_errors=True)
                else:
                    partial.unlink()
            return self._open(described)
        except BaseException:
            self.lock.__exit__(None, None, None)
            raise

    def _open(self, described: list[dict[str, Any]]) -> Checkpoint | None:
        present = checkpoint_files(self.folder)
        if present and not self.resume:
            raise FileExistsError(
                f"{self.folder} holds {present[-1].name}; go on from it with resume=True, or give "
                "another folder"
            )
        saved = read_newest(self.folder)
        if saved is None:
            return None
        try:
            check_count(saved, self.folder)
            found = _first_difference(saved, described)
        except (KeyError, AttributeError) as error:
            raise ValueError(f"the checkpoint in {self.folder} is not whole: {error!r}") from error
        if found:
            raise ValueError(f"{self.folder} holds a checkpoint of another run: {found}")
        return saved

    def _begin(self, sitting: Sitting) -> None:
        if self.saved is None:
            self.save(sitting)
        else:
            apply(sitting, *self.saved)
            self.saved_step = sitting.state.step
            from_first(lambda: set_aside_later(self.folder, self.saved_step))
            self.saved = Checkpoint({}, self.saved.document)  # its tensors are in use elsewhere

    def _is_due(self) -> bool:
        every = max(EVERY, self.took / SHARE) if self.every is None else self.every
        return time.perf_counter() - self.saved_at >= every

    def _go_back(self, sitting: Sitting) -> None:
        """Take a run that failed amid a step back to its last checkpoint."""
        last = from_first(lambda: read_newest(self.folder))
        if last is None:
            raise OSError(f"{self.folder} holds no checkpoint any more")
        budget = sitting.budget.started
        apply(sitting, *own_part(last, place()[0]))
        sitting.budget.started = budget
        self.saved_step = sitting.state.step
        from_first(lambda: set_aside_later(self.folder, self.saved_step))


def _first_difference(saved: Checkpoint, described: list[dict[str, Any]]) -> str:
    """What differs in the first process that has another run than before; empty if none has."""
    for rank, now in enumerate(described):
        found = differences(own_part(saved, rank).document["run"], now)
        if found:
            return found if rank == 0 else f"in process {rank}, {found}"
    return ""


def open_checkpoints(
    params: Mapping[str, Any],
    data: TrainingData,
    device_type: str,
    precision: str,
    rotation_weight: float = 0.0,
) -> Checkpoints | None:
    """The checkpoints that the estimator's parameters ask for.

    Parameters
    ----------
    params : mapping
        The estimator's parameters.
    data : TrainingData
    device_type, precision : str
    rotation_weight : float, default=0.0
        That in force, which follows the number of labels and is not among the parameters then.

    Returns
    -------
    Checkpoints or None
        None where none are asked for.

    Raises
    ------
    ValueError
        If the parameters are not valid.

    Examples
    --------
    >>> params = {"checkpoint": None, "checkpoint_every": None, "resume": True}
    >>> open_checkpoints(params, None, "cpu", "32-true")
    Traceback (most recent call last):
    ValueError: resume=True needs checkpoint=FOLDER
    """
    check_options(params)
    folder, every, resume = (params[key] for key in ("checkpoint", "checkpoint_every", "resume"))
    if folder is None:
        return None
    more = {"rotation": rotation_weight} if rotation_weight else {}
    run = describe_run(params, data, device=device_type, number_format=precision, **more)
    seconds = None if every is None else float(every)
    return Checkpoints(folder, seconds, bool(resume), run)
