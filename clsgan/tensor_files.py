"""Tensors written to a safetensors file: whole and on the disk, or an OSError says why not."""

import errno
import os
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write a safetensors file and wait until the disk has it.

    Parameters
    ----------
    path : Path
        Written over where it is there.
    tensors : mapping of str to Tensor
        On the CPU, each contiguous and with memory of its own, as `packed` makes them.
    metadata : dict of str to str, optional

    Raises
    ------
    OSError
        If it cannot be written; what of it was written is left for the caller to remove.

    Examples
    --------
    >>> import tempfile
    >>> import torch
    >>> with tempfile.TemporaryDirectory() as here:
    ...     write_tensors(Path(here) / "a.safetensors", {"a": torch.ones(1)})
    ...     os.listdir(here)
    ['a.safetensors']
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(dict(tensors), path, metadata=metadata)
    except SafetensorError as error:  # which a full disk raises too, and which is no OSError
        raise OSError(f"{path.name}: {error}") from error
    sync(path)


def packed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU, each contiguous and with memory of its own.

    Parameters
    ----------
    tensors : mapping of str to Tensor

    Returns
    -------
    dict of str to Tensor

    Examples
    --------
    >>> import torch
    >>> packed({"a": torch.zeros(2, 3).T})["a"].is_contiguous()
    True
    """
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def sync(path: Path) -> None:
    """Wait until the disk has a file, or what a folder lists.

    Parameters
    ----------
    path : Path

    Examples
    --------
    >>> sync(Path("."))
    """
    if path.is_dir() and os.name == "nt":  # a folder cannot be opened there
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # of folders, on some file systems
            raise
    finally:
        os.close(handle)
