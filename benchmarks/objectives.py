"""The systems of the papers on the same networks, data and budget; and what the papers claim.

    python benchmarks/objectives.py --plan benchmarks/objectives.yaml --dry-run
    python benchmarks/objectives.py --plan benchmarks/objectives.yaml --path cifar10=FILE.npz
    python benchmarks/objectives.py --study systems --data ring8 --steps 500 --variants ls_gan hinge
    python benchmarks/objective_tables.py  # then writes docs/objective-benchmarks.md

A variant is a set of arguments of `LSGAN`. Run it again and it goes on where it was. Images are
measured with a small classifier of ours, trained once a data set and kept under --extractors.
"""

from collections.abc import Sequence
from pathlib import Path

import objective_jobs
from objective_studies import STUDIES


def main(argv: Sequence[str] | None = None) -> int:
    return objective_jobs.main(Path(__file__).resolve(), STUDIES, __doc__.splitlines()[0], argv)


if __name__ == "__main__":
    raise SystemExit(main())
