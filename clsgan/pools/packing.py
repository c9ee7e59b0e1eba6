"""`clsgan pack`: the images of a folder as .tar shards, in shuffled order, in several sittings."""

import io
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clsgan.image_files import read_pixels
from clsgan.pools.folder_index import FolderIndex
from clsgan.pools.permutation import shuffled_index
from clsgan.pools.tar_shards import INDEX, MAX_MEMBER_BYTES
from clsgan.run_folder import read_json, write_json

ORDER = ".order.index"
FORMAT = 1


@dataclass(frozen=True)
class Packed:
    """What lies in a folder of shards.

    Attributes
    ----------
    shards : dict of str to int
        How many samples each file has.
    skipped : list of [path, reason]
        Files that cannot be read.

    Examples
    --------
    >>> Packed({"shard-000000.tar": 10}, []).n_samples
    10
    """

    shards: dict[str, int]
    skipped: list[list[str]]

    @property
    def n_samples(self) -> int:
        """Samples in all shards."""
        return sum(self.shards.values())


def pack_folder(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    shard_images: int = 10_000,
    image_size: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Packed:
    """Copy the images of a folder tree into WebDataset shards.

    They are put in a shuffled order, so that every shard is like the whole. A call that was stopped
    goes on after the last whole shard when it is made again.

    Parameters
    ----------
    folder : path
    out : path
        Made where it is not there. Gets shard-000000.tar, ..., and shards.json with what they hold
        and which files were skipped.
    shard_images : int
    image_size : int, optional
        Store squares of so many pixels as PNG, not the files as they are.
    seed : int
    progress : bool
        Show a bar.

    Returns
    -------
    Packed

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If there is no such folder.
    FileExistsError
        If `out` holds something else, or the shards of other settings.
    ValueError
        If no image is in the folder, or a number is not valid.

    Examples
    --------
    >>> pack_folder("nowhere", "shards")
    Traceback (most recent call last):
    FileNotFoundError: no folder at nowhere
    """
    from tqdm import tqdm

    source, target = _checked_folders(folder, out)
    for name, value in {"shard_images": shard_images, "image_size": image_size or 1}.items():
        if value < 1:
            raise ValueError(f"{name}={value} is not valid; it is at least 1")
    asked = {"folder": str(source), "shard_images": shard_images}
    asked |= {"image_size": image_size, "seed": seed}
    state = _begin(target, asked)
    index = FolderIndex(target / ORDER) if (target / ORDER).exists() else None
    if state["finished"]:
        return Packed(state["shards"], state["skipped"])
    index = index or FolderIndex.build(source, target / ORDER)
    write_json(target / INDEX, state)  # before there is a shard: without it the folder is refused
    with tqdm(total=len(index), initial=state["done"], unit="image", disable=not progress) as bar:
        while state["done"] < len(index):
            before = state["done"]
            _write_shard(target, index, state, asked)
            write_json(target / INDEX, state)
            bar.update(state["done"] - before)
    state["finished"] = True
    write_json(target / INDEX, state)
    (target / ORDER).unlink()
    return Packed(state["shards"], state["skipped"])


def _checked_folders(folder: Any, out: Any) -> tuple[Path, Path]:
    source, target = Path(folder).expanduser(), Path(out).expanduser()
    if not source.exists():
        raise FileNotFoundError(f"no folder at {source}")
    if not source.is_dir():
        raise NotADirectoryError(f"{source} is a file, a folder of images is expected")
    source, target = source.resolve(), target.resolve()
    if target == source or source in target.parents:
        raise ValueError(f"{target} lies in {source}; put the shards beside the images")
    return source, target


def _begin(target: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """The state of an earlier call with the same settings, or that of a new one."""
    target.mkdir(parents=True, exist_ok=True)
    ours = {ORDER, *(p.name for p in target.glob(".*.partial"))}
    if (target / INDEX).exists():
        state = read_json(target / INDEX)
        if state.get("asked") == asked:
            return state
        if state.get("shards") != {}:
            raise FileExistsError(
                f"{target} holds shards of other settings, {state.get('asked')}; give another --out"
            )
        ours |= {INDEX, _shard_name(0)}  # of a call that was stopped amid its first shard
    foreign = sorted(path.name for path in target.iterdir() if path.name not in ours)
    if foreign:
        raise FileExistsError(f"{target} holds {foreign[0]}; give an empty folder")
    for name in ours:
        (target / name).unlink(missing_ok=True)
    fresh: dict[str, Any] = {"format": FORMAT, "asked": asked, "done": 0, "finished": False}
    return fresh | {"shards": {}, "skipped": []}


def _write_shard(
    target: Path, index: FolderIndex, state: dict[str, Any], asked: dict[str, Any]
) -> None:
    """Write the next shard aside and rename it; what it holds is entered into the state."""
    name = _shard_name(len(state["shards"]))
    partial = target / f".{name}.partial"
    count = 0
    previous = ""
    with partial.open("wb") as file, tarfile.open(fileobj=file, mode="w:", format=_GNU) as tar:
        for path, member, content in _images(index, state, asked):
            if isinstance(content, str):
                state["skipped"].append([str(path), content])
                continue
            member = _own_stem(member, previous)
            previous = _stem(member)
            entry = tarfile.TarInfo(member)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
            count += 1
            if count == asked["shard_images"]:
                break
    with partial.open("rb") as whole:
        os.fsync(whole.fileno())
    if count:
        os.replace(partial, target / name)
        state["shards"][name] = count
    partial.unlink(missing_ok=True)


def _shard_name(number: int) -> str:
    return f"shard-{number:06d}.tar"


def _images(
    index: FolderIndex, state: dict[str, Any], asked: dict[str, Any]
) -> Iterator[tuple[Path, str, bytes | str]]:
    """Files from where the state stands: path, name in the shard, bytes or what is wrong."""
    while state["done"] < len(index):
        i = int(shuffled_index(state["done"], len(index), asked["seed"]))
        state["done"] += 1
        path, name = index.path(i), index.name(i)
        try:
            if path.stat().st_size > MAX_MEMBER_BYTES:
                raise ValueError(f"it has more than {MAX_MEMBER_BYTES} bytes")
            content = path.read_bytes()
            size = asked["image_size"]
            pixels = read_pixels(path, (size or 8, size or 8, 3), content)
        except (OSError, ValueError) as error:
            yield path, name, str(error)
            continue
        if size is not None:
            content, name = _png(pixels), f"{os.path.splitext(name)[0]}.png"
        yield path, name, content


def _png(pixels: Any) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _own_stem(name: str, previous: str) -> str:
    """A member's name: dots end the stem in shards, and samples side by side have two stems."""
    folder, _, base = name.rpartition("/")
    stem, suffix = os.path.splitext(base)
    stem = stem.replace(".", "_")
    renamed = "/".join(filter(None, [folder, stem + suffix]))
    return renamed if _stem(renamed) != previous else f"{os.path.splitext(renamed)[0]}~{suffix}"


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]


_GNU = tarfile.GNU_FORMAT
