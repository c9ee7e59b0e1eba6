"""Run folders that are taken up again: whose they are, and what of them is left."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clsgan.checkpoints.file import checkpoint_files
from clsgan.checkpoints.fingerprint import differences
from clsgan.config import RecipeConfig, load_recipe
from clsgan.documents import to_json
from clsgan.run_folder import CONFIG, claim_run_folder, discard_unstarted
from clsgan.runlog import METRICS_FILE, TENSORBOARD_FOLDER
from clsgan.saving import LAST_GOOD

CHECKPOINT = "checkpoint"
FREE = ("verbose", "checkpoint_every")  # what a run can be taken up with anew


def open_run_folder(config: RecipeConfig) -> tuple[Path, list[Path] | None]:
    """Make the folder of a run, or find that of the run to go on with.

    Parameters
    ----------
    config : RecipeConfig
        With the form of its data.

    Returns
    -------
    folder : Path
    made : list of Path or None
        As from `claim_run_folder`; None for a folder of a run that goes on.

    Raises
    ------
    ValueError
        ``resume`` is asked for without ``run``, or the folder holds a run of another recipe; the
        message names what differs.
    FileExistsError
        The folder holds something, and no run to go on with was asked for or is there.

    Examples
    --------
    >>> open_run_folder(RecipeConfig(name="mine", resume=True))
    Traceback (most recent call last):
    ValueError: resume=true needs run=FOLDER, the run to go on with
    """
    if not config.resume:
        return claim_run_folder(config.name, config.run)
    if config.run is None:
        raise ValueError("resume=true needs run=FOLDER, the run to go on with")
    folder = Path(config.run).expanduser()
    stored = folder / CONFIG
    if not stored.is_file():
        return claim_run_folder(config.name, folder)
    if stored.stat().st_size:  # else it was killed before it wrote anything
        found = differences(_plain(load_recipe(stored)), _plain(config))
        if found:
            raise ValueError(f"{folder} holds a run of another recipe: {found}")
    return folder, None


def forget_unstarted(folder: Path, made: Sequence[Path] | None) -> None:
    """Take back what was written for a run that failed before it trained.

    Parameters
    ----------
    folder : Path
    made : sequence of Path or None
        As from `open_run_folder`; nothing is removed of a run that was taken up again.

    Examples
    --------
    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as here:
    ...     config = RecipeConfig(name="mine", run=f"{here}/a", resume=True)
    ...     forget_unstarted(*open_run_folder(config))
    ...     os.listdir(here)
    []
    """
    saved = [path.stem for path in checkpoint_files(folder / CHECKPOINT)]
    if made is None or any(int(stem.removeprefix("step-")) > 0 for stem in saved):
        return
    if (folder / CHECKPOINT / LAST_GOOD).exists():  # it diverged before its second checkpoint
        return
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
    discard_unstarted(folder, made)


def remove_old_log(folder: Path) -> None:
    """Remove what a run has logged of which no checkpoint is left, since it starts anew.

    Parameters
    ----------
    folder : Path
        A run folder, to be gone on with.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as here:
    ...     (Path(here) / "metrics.jsonl").touch()
    ...     remove_old_log(Path(here))
    ...     list(Path(here).iterdir())
    []
    """
    if checkpoint_files(folder / CHECKPOINT):
        return
    (folder / METRICS_FILE).unlink(missing_ok=True)
    if (folder / TENSORBOARD_FOLDER).exists():
        shutil.rmtree(folder / TENSORBOARD_FOLDER)


def _plain(config: RecipeConfig) -> dict[str, Any]:
    plain: dict[str, Any] = to_json(asdict(config))
    for key in ("run", "resume", "description"):
        plain.pop(key)
    estimator = plain["estimator"]
    plain["estimator"] = {key: value for key, value in estimator.items() if key not in FREE}
    return plain
