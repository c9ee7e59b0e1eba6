"""A fitted model on disk: one safetensors file and one JSON file, nothing that runs."""

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from clsgan.replaced_folder import left_over, put_back, written_aside
from clsgan.tensor_files import packed, sync, write_tensors

FORMAT = 1
TENSORS = "model.safetensors"
DOCUMENT = "model.json"
MAX_DOCUMENT_BYTES = 16 * 2**20


def write_model(
    folder: str | os.PathLike[str],
    tensors: Mapping[str, Tensor],
    document: Mapping[str, Any],
    overwrite: bool = False,
) -> Path:
    """Write a model folder whole or not at all.

    It is written aside, in the same parent folder, and renamed. Where a process was killed while
    it replaced the folder, the model before comes back first.

    Parameters
    ----------
    folder : path
    tensors : mapping of str to Tensor
    document : mapping
        What JSON can hold.
    overwrite : bool
        Whether a model folder that is there may be replaced.

    Returns
    -------
    Path

    Raises
    ------
    FileExistsError
        If the folder exists and is not empty, and is no model folder or `overwrite` is False.
    ValueError
        If the document is larger than `read_model` takes, 16 MiB.
    OSError
        If it cannot be written; a model that is there stays as it is.

    Examples
    --------
    >>> import tempfile
    >>> import torch
    >>> with tempfile.TemporaryDirectory() as here:
    ...     folder = write_model(f"{here}/model", {"a": torch.ones(1)}, {"kind": "test"})
    ...     sorted(path.name for path in folder.iterdir())
    ['model.json', 'model.safetensors']
    """
    target = Path(folder)
    text = _document_text(document)
    put_back(target)
    _check_target(target, overwrite)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(target) as aside:
            write_tensors(aside / TENSORS, packed(tensors))
            (aside / DOCUMENT).write_text(text, encoding="utf-8")
            sync(aside / DOCUMENT)
    except OSError as error:
        kept = "; the model that was there stays" if (target / DOCUMENT).exists() else ""
        raise OSError(f"the model cannot be written to {target}: {error}{kept}") from error
    return target


def read_model(folder: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a model folder; nothing in it is executed.

    Where a process was killed while it replaced the folder, the model before is read, with a
    warning.

    Parameters
    ----------
    folder : path

    Returns
    -------
    tensors : dict of str to Tensor
    document : dict

    Raises
    ------
    FileNotFoundError
        If the folder or one of its two files is missing.
    ValueError
        If a file is truncated or not of its format, a link, or was written by a newer version.

    Examples
    --------
    >>> read_model("no-such-folder")
    Traceback (most recent call last):
    FileNotFoundError: no model folder at no-such-folder
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    source = _present(Path(folder))
    for name in (DOCUMENT, TENSORS):
        if not (source / name).is_file():
            raise FileNotFoundError(f"{source} is not a whole model folder: {name} is missing")
        if (source / name).is_symlink():
            raise ValueError(f"{source / name} is a link; a model folder holds its files itself")
    document = _read_document(source / DOCUMENT)
    try:
        return load_file(source / TENSORS), document
    except SafetensorError as error:
        raise ValueError(f"{source / TENSORS} is truncated or corrupt: {error}") from error


def _present(folder: Path) -> Path:
    """The folder, or the one that was moved away to be replaced."""
    if folder.is_dir():
        return folder
    moved = left_over(folder)
    if moved is None:
        raise FileNotFoundError(f"no model folder at {folder}")
    warnings.warn(
        f"{folder} was to be replaced, and that did not end: the model before is read, which lies "
        f"in {moved} until the next save to {folder.name}",
        stacklevel=4,
    )
    return moved


def _document_text(document: Mapping[str, Any]) -> str:
    """The document as JSON in ASCII, so that its bytes are its characters."""
    text = _compact({"format": FORMAT, **document})
    if len(text) > MAX_DOCUMENT_BYTES:
        sizes = {key: len(_compact(value)) for key, value in document.items()}
        largest = max(sizes, key=lambda key: sizes[key])
        raise ValueError(
            f"the model's document has {len(text)} bytes, of which {sizes[largest]} are its "
            f"{largest!r}; at most {MAX_DOCUMENT_BYTES} can be loaded again, so nothing is written"
        )
    return text


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _read_document(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_DOCUMENT_BYTES:
        raise ValueError(f"{path} is larger than {MAX_DOCUMENT_BYTES} bytes: no model file")
    try:
        parsed = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is truncated or corrupt: {error}") from error
    document: dict[str, Any] = parsed if isinstance(parsed, dict) else {}
    number = document.get("format")
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise ValueError(f"{path} is not a clsgan model file: it names no format")
    if number > FORMAT:
        raise ValueError(
            f"{path} has format {number}, this version of clsgan reads up to {FORMAT}; "
            "update clsgan"
        )
    return document


def _check_target(target: Path, overwrite: bool) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise FileExistsError(f"{target} is a file; give a folder")
    present = {path.name for path in target.iterdir()}
    if not present or (overwrite and present == {TENSORS, DOCUMENT}):
        return
    reason = "pass overwrite=True to replace it" if DOCUMENT in present else "give another folder"
    raise FileExistsError(f"{target} exists and is not empty; {reason}")
