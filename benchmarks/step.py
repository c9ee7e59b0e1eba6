"""Speed: `fit` against a bare torch loop of the same work, bf16 against fp32, `predict`, import;
the share of the machine's matmul rate that each loss network reaches; the terms of a step.

    python benchmarks/step.py --out benchmarks/results/step.json
    python benchmarks/step.py --only networks terms

Two sides at a time run in one process in turns, A B A B ...; reported is the median of the ratios
of neighbours, with the least and the largest. The first pair is warm-up and not counted. A round
of `fit` or of the bare loop times `--steps` steps of fresh networks. Nothing else should run.
"""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from timeit import timeit
from typing import Any

import numpy as np
import torch
from bare_loop import bare_speed
from shares import network_rows, term_rows
from sides import Problem, fitted, paired
from torch import Tensor, nn

import clsgan
from clsgan import CLSGANClassifier
from clsgan.doctor import machine, versions
from clsgan.inference import CHUNK
from clsgan.run_folder import write_json

ROOT = Path(clsgan.__file__).resolve().parents[1]
IMPORTS = ("from clsgan import CLSGANClassifier", "import torch; import sklearn")
DEFAULTS = {"images": 10_000, "steps": 48, "repeats": 5, "size": 32, "batch-size": 256}
DEFAULTS |= {"matmul-size": 4096}
ROWS = (  # name, what is compared, unit, target of the ratio
    ("fit", "fit / bare loop", "images/s", ">= 0.95"),
    ("bf16", "fit in bf16 / in fp32", "images/s", ""),
    ("predict", "predict / bare forward", "images/s", ">= 0.95"),
    ("predict_ready", "predict / forward of ready tensors", "images/s", ""),
    ("import", "import clsgan / torch and sklearn", "s", "<= 1.2"),
)


def chunks(model: CLSGANClassifier, images: np.ndarray) -> Iterator[Tensor]:
    for i in range(0, len(images), CHUNK):
        x = torch.from_numpy(images[i : i + CHUNK]).to(model.device_).float()
        if len(x) < CHUNK:
            x = nn.functional.pad(x, (0, 0, 0, 0, 0, 0, 0, CHUNK - len(x)))
        yield x.sub_(127.5).div_(127.5).permute(0, 3, 1, 2)


def forward(model: CLSGANClassifier, rows: Iterable[Tensor]) -> Tensor:
    """Class indices of chunks, by the network alone."""
    bf16 = model.precision_ == "bf16-mixed"
    with torch.inference_mode(), torch.autocast(model.device_, torch.bfloat16, enabled=bf16):
        return torch.cat([model.loss_network_(x)[0].argmax(1) for x in rows]).cpu()


def import_seconds(line: str) -> float:
    """Seconds that an import takes in a new interpreter, whose own start is not counted."""
    code = f"import time; t = time.perf_counter(); {line}; print(time.perf_counter() - t)"
    return float(subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True))


def measure(problem: Problem, matmul_size: int, repeats: int) -> dict[str, dict[str, Any]]:
    def fit(precision: str) -> Callable[[], float]:
        return lambda: float(fitted(problem, precision).images_per_second_)  # of the steps alone

    def timed(work: Callable[[], object]) -> Callable[[], float]:
        return lambda: len(images) / timeit(work, number=1)

    model, images = fitted(problem, "auto"), problem.images
    predict, ready = partial(model.predict, images), list(chunks(model, images))
    sides: dict[str, tuple[Callable[[], float], Callable[[], float]]] = {
        "fit": (fit("auto"), lambda: bare_speed(problem, "auto")),
        "bf16": (fit("bf16"), fit("32")),
        "predict": (timed(predict), timed(lambda: forward(model, chunks(model, images)))),
        "predict_ready": (timed(predict), timed(lambda: forward(model, ready))),
        "import": (lambda: import_seconds(IMPORTS[0]), lambda: import_seconds(IMPORTS[1])),
    }
    measured = {name: paired(a, b, repeats) for name, (a, b) in sides.items()}
    return {name: {"what": w, "unit": u, "target": t} | measured[name] for name, w, u, t in ROWS}


def commit() -> str | None:
    git = f"git -C {shlex.quote(str(ROOT))} --no-optional-locks describe --always --dirty"
    failed, answer = subprocess.getstatusoutput(f"{git} --abbrev=40 --exclude='*'")
    return None if failed else answer


def show(rows: dict[str, dict[str, Any]]) -> None:
    print(f"{'a / b':38}{'a':>9}{'b':>9}  {'unit':9}{'ratio':>6}  {'min..max':14}target")
    for row in rows.values():
        a, b, span = f"{row['a']:.4g}", f"{row['b']:.4g}", f"{row['min']:.3f}..{row['max']:.3f}"
        line = f"{row['what']:38}{a:>9}{b:>9}  {row['unit']:9}{row['ratio']:6.3f}  {span:14}"
        print(f"{line}{row['target']:8}{note(row)}".rstrip())


def note(row: dict[str, Any]) -> str:
    if "images_per_second" in row:
        giga = row["flop_per_image"] / 1e9
        return f"{row['images_per_second']:,.0f} images/s of {giga:.3g} GFLOP"
    if row.get("flop_per_step"):
        giga = row["flop_per_step"] / 1e9
        return f"{giga:.3g} GFLOP a step at {row['matmul_share']:.2f} of the matmul rate"
    return ""


PARTS: dict[str, Callable[[Problem, int, int], dict[str, dict[str, Any]]]] = {
    # (problem, side of the matrices, repeats) -> rows
    "results": measure,
    "networks": network_rows,
    "terms": term_rows,
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure the speed of training and prediction.")
    for name, default in DEFAULTS.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{default}, if not given")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="all of them")
    parser.add_argument("--out", type=Path, help="JSON file to write: what --only names, no more")
    args = parser.parse_args(argv)
    problem, facts = Problem(args.images, args.size, args.batch_size, args.steps), machine()
    content: dict[str, Any] = {"date": datetime.now(UTC).isoformat(timespec="seconds")}
    content |= {"commit": commit(), "machine": facts, "versions": versions()}
    content["options"] = {key: value for key, value in vars(args).items() if key != "out"}
    for name in args.only:
        content[name] = PARTS[name](problem, args.matmul_size, args.repeats)
        show(content[name])
    print(f"{facts['threads']} threads, bf16 in hardware: {facts['bf16'] or 'no'}")
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(args.out, content)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
