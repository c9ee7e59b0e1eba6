"""Memory and speed of `fit` on pools of 10^5 to 10^7 unlabeled images that stay on disk.

    python benchmarks/scale.py --out benchmarks/results/scale.json
    python benchmarks/scale.py --sizes 100000 1000000 --kinds memmap --steps 100 --repeats 1

Makes a pool of 16x16 grey images (an .npy file that is mapped, or WebDataset shards of PNG files)
in a temporary folder below `--folder`, trains on it in a process of its own, and removes it. Told
are the largest anonymous memory (RssAnon of /proc/self/status) while it trained, and images a
second of the steps alone. Aim: anonymous memory grows by less than 10 % over the smallest pool,
images a second stay within 10 %. All sizes take turns, `--repeats` times. Linux only.
"""

import argparse
import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from clsgan import CLSGANClassifier
from clsgan.doctor import machine, versions
from clsgan.run_folder import write_json

SIDE, CLASSES, LABELED = 16, 10, 1000
DISTINCT = 5000  # images that the pools repeat
SHARD_IMAGES = 10_000
SIZES = (10**5, 10**6, 10**7)
WIDTHS = (32, 64, 128)


def some_images(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, SIDE, SIDE), dtype=np.uint8)


def make_memmap(folder: Path, size: int) -> Path:
    path, block = folder / "pool.npy", some_images(DISTINCT, 1)
    pool = np.lib.format.open_memmap(path, "w+", np.uint8, (size, SIDE, SIDE))
    for start in range(0, size, DISTINCT):
        pool[start : start + DISTINCT] = block[: size - start]
    pool.flush()
    return path


def make_shards(folder: Path, size: int) -> Path:
    """Shards of one content: what is read of them is what counts, and they are written quickly."""
    encoded = []
    for image in some_images(DISTINCT, 1):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        encoded.append(buffer.getvalue())
    whole = shard_of(encoded, min(size, SHARD_IMAGES))
    for i in range(size // SHARD_IMAGES):
        (folder / f"shard-{i:06d}.tar").write_bytes(whole)
    if size % SHARD_IMAGES:
        last = shard_of(encoded, size % SHARD_IMAGES)
        (folder / f"shard-{size // SHARD_IMAGES:06d}.tar").write_bytes(last)
    return folder


def shard_of(encoded: Sequence[bytes], count: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for i in range(count):
            content = encoded[i % len(encoded)]
            entry = tarfile.TarInfo(f"{i:09d}.png")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


KINDS: dict[str, Callable[[Path, int], Path]] = {"memmap": make_memmap, "shards": make_shards}


def anonymous_mb() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    if found is None:
        raise OSError("this system does not tell RssAnon; the benchmark needs Linux")
    return int(found[1]) * 1024 / 1e6


@contextmanager
def watched() -> Iterator[list[float]]:
    """Anonymous memory of this process, in MB, ten times a second while a block runs."""
    seen, over = [anonymous_mb()], threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            seen.append(anonymous_mb())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def measured(pool: Path, steps: int) -> dict[str, Any]:
    """What one run tells, in a process of its own."""
    model = CLSGANClassifier(
        loss_network_options={"widths": WIDTHS},
        max_steps=steps,
        batch_size=256,
        unlabeled_start=0.0,
        layout="NHW",
        random_state=0,
    )
    with watched() as seen:
        model.fit(some_images(LABELED, 0), np.arange(LABELED) % CLASSES, pool)
    speed, seconds = float(model.images_per_second_), float(model.fit_time_)
    told = {"anonymous_mb": max(seen), "images_per_second": speed, "fit_seconds": seconds}
    return told | {"unlabeled": int(model.n_unlabeled_), "precision": model.precision_}


def run_child(pool: Path, steps: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", str(pool), "--steps", str(steps)]
    answer: dict[str, Any] = json.loads(subprocess.check_output(command, text=True))
    return answer


def measure(kind: str, sizes: Sequence[int], args: argparse.Namespace) -> list[dict[str, Any]]:
    """One row a size; the pools lie side by side, so that they can take turns."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="clsgan-scale-", dir=args.folder) as folder:
        pools = []
        for size in sizes:
            place, began = Path(folder, str(size)), time.perf_counter()
            place.mkdir()
            pools.append(KINDS[kind](place, size))
            rows.append({"kind": kind, "size": size, "write_seconds": time.perf_counter() - began})
        runs = [[run_child(pool, args.steps) for pool in pools] for _ in range(args.repeats)]
    for i, row in enumerate(rows):
        mine = [turn[i] for turn in runs]
        for name in ("anonymous_mb", "images_per_second"):
            row[name] = median(run[name] for run in mine)
        row |= {"runs": mine}
        for name in ("anonymous_mb", "images_per_second"):
            row[f"{name}_ratio"] = row[name] / rows[0][name]
        show(row)
    return rows


def show(row: dict[str, Any]) -> None:
    print(
        f"{row['kind']:7} {row['size']:>11,}  {row['anonymous_mb']:8.0f} MB "
        f"({row['anonymous_mb_ratio']:.3f})  {row['images_per_second']:8.0f} images/s "
        f"({row['images_per_second_ratio']:.3f})  written in {row['write_seconds']:.0f} s",
        flush=True,
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure fit on pools that stay on disk.")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--largest-shards", type=int, default=max(SIZES), metavar="N")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where pools are made; the system's, if not")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child is not None:
        print(json.dumps(measured(args.child, args.steps)))
        return 0
    content: dict[str, Any] = {"date": datetime.now(UTC).isoformat(timespec="seconds")}
    content |= {"machine": machine(), "versions": versions(), "results": []}
    content["options"] = {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items()}
    for kind in args.kinds:
        sizes = [n for n in args.sizes if kind != "shards" or n <= args.largest_shards]
        content["results"] += measure(kind, sizes, args)
        if args.out is not None:  # what was measured is kept if a later pool cannot be made
            args.out.parent.mkdir(parents=True, exist_ok=True)
            write_json(args.out, content)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
