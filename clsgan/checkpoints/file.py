"""Checkpoints on disk: one safetensors file each, whole or absent, the last two of them kept."""

import json
import os
import re
import shutil
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clsgan.tensor_files import packed, sync, write_tensors

FORMAT = 3  # 1 and 2 were never released; 2 did not say how wide the loss network is
NAME = re.compile(r"step-(\d{12})\.safetensors")
PARTIAL = ".step-*.partial"


class Checkpoint(NamedTuple):
    """What was read of a checkpoint.

    Parameters
    ----------
    tensors : dict of str to Tensor
    document : dict
        What JSON can hold.

    Examples
    --------
    >>> Checkpoint({}, {"step": 3}).document["step"]
    3
    """

    tensors: dict[str, Tensor]
    document: dict[str, Any]


def write_checkpoint(
    folder: Path, step: int, tensors: Mapping[str, Tensor], document: Mapping[str, Any]
) -> None:
    """Write a checkpoint: aside, synced, renamed, the folder synced; then older ones go.

    The one before is kept, in case that the new one is damaged later.

    Parameters
    ----------
    folder : Path
    step : int
    tensors : mapping of str to Tensor
    document : mapping
        What JSON can hold.

    Raises
    ------
    OSError
        If it cannot be written; those that are there stay as they are.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as here:
    ...     for step in (5, 10, 15):
    ...         write_checkpoint(Path(here), step, {"a": torch.ones(1)}, {"step": step})
    ...     [path.name for path in checkpoint_files(Path(here))]
    ['step-000000000010.safetensors', 'step-000000000015.safetensors']
    """
    copies = packed(tensors)
    text = json.dumps({"format": FORMAT, "checksum": _checksum(copies), **document})
    target = folder / f"step-{step:012d}.safetensors"
    aside = folder / f".{target.stem}.{os.getpid()}.partial"
    try:
        aside.mkdir(exist_ok=True)  # a folder: safetensors begins under a name of its own
        write_tensors(aside / target.name, copies, {"document": text})
        os.replace(aside / target.name, target)
        sync(folder)
        _remove_others(folder, target)
    except OSError as error:
        left = [path for path in checkpoint_files(folder) if path != target]
        kept = f"; {left[-1].name} is still there" if left else ""
        raise OSError(
            f"the checkpoint of step {step} cannot be written to {folder}: {error}{kept}"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def read_newest(folder: Path) -> Checkpoint | None:
    """Read the newest checkpoint; one that is damaged is passed over, with a warning.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    Checkpoint or None
        None where there is none.

    Raises
    ------
    ValueError
        If there are some, and none can be read.

    Examples
    --------
    >>> read_newest(Path("nowhere")) is None
    True
    """
    reasons: list[str] = []
    for path in reversed(checkpoint_files(folder)):
        try:
            found = read_checkpoint(path)
        except ValueError as error:
            reasons.append(str(error))
            continue
        if reasons:
            text = f"{'; '.join(reasons)}; the one before is taken, {path.name}"
            warnings.warn(text, stacklevel=2)
        return found
    if reasons:
        raise ValueError(f"no checkpoint in {folder} can be read: {'; '.join(reasons)}")
    return None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; nothing in it is executed.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Checkpoint

    Raises
    ------
    ValueError
        If it is truncated, damaged, a link, or of another format.

    Examples
    --------
    See `write_checkpoint`.
    """
    from safetensors import SafetensorError, safe_open

    if path.is_symlink():
        raise ValueError(f"{path} is a link; a checkpoint is a file")
    try:
        with safe_open(path, framework="pt") as file:
            document = json.loads((file.metadata() or {}).get("document", ""))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is truncated or damaged: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("format"), int):
        raise ValueError(f"{path} is no checkpoint: it names no format")
    if document["format"] != FORMAT:
        older = document["format"] < FORMAT
        advice = "start the run anew in another folder" if older else "update clsgan"
        raise ValueError(
            f"{path} has format {document['format']}, this version of clsgan reads {FORMAT}; "
            f"{advice}"
        )
    if document.get("checksum") != _checksum(tensors):
        raise ValueError(f"{path} is damaged: its checksum is another one")
    return Checkpoint(tensors, document)


def checkpoint_files(folder: Path) -> list[Path]:
    """The checkpoints of a folder, oldest first.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    list of Path

    Examples
    --------
    >>> checkpoint_files(Path("nowhere"))
    []
    """
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    return [folder / name for name in names if NAME.fullmatch(name)]


def set_aside_later(folder: Path, step: int) -> None:
    """Rename checkpoints after a step: damaged ones, which a run that goes on passed over.

    Else the next one saved would drive out the good one, not them.

    Parameters
    ----------
    folder : Path
    step : int
        That the run goes on from.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as here:
    ...     (Path(here) / "step-000000000007.safetensors").touch()
    ...     set_aside_later(Path(here), 5)
    ...     os.listdir(here)
    ['step-000000000007.safetensors.damaged']
    """
    for path in checkpoint_files(folder):
        if int(path.stem.removeprefix("step-")) > step:
            os.replace(path, path.with_name(f"{path.name}.damaged"))


def _remove_others(folder: Path, newest: Path) -> None:
    """Keep the newest and the one before; later steps are those of a damaged file."""
    files = checkpoint_files(folder)
    place = files.index(newest)
    for path in [*files[: max(place - 1, 0)], *files[place + 1 :]]:
        path.unlink()


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    checksum = 0
    for name in sorted(tensors):
        checksum = zlib.crc32(name.encode(), checksum)
        flat = tensors[name].flatten()
        if len(flat):
            flat = flat.as_strided(flat.shape, (1,))  # that of a single number may be 0
            checksum = zlib.crc32(flat.view(torch.uint8).numpy().data, checksum)
    return checksum
