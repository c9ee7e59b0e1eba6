"""Features of the loss network for a gradient boosting model: digits with 100 labels.

    python examples/gradient_boosting.py

Trees are weak on raw pixels and few labels. `transform` hands them features that the unlabeled
images shaped too; both models see the same 100 labels. Takes about 20 seconds.
"""

import argparse
from collections.abc import Sequence

from sklearn.ensemble import HistGradientBoostingClassifier

from clsgan import CLSGANClassifier
from clsgan.config import DataConfig
from clsgan.run_data import load_run_data


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=15, help="of fit; 15, if not given")
    parser.add_argument("--steps", type=int, help="in place of seconds")
    args = parser.parse_args(argv)
    data = load_run_data(DataConfig("digits", labels=100))

    seconds = args.seconds if args.steps is None else None
    model = CLSGANClassifier(time_limit=seconds, max_steps=args.steps, random_state=0)
    model.fit(data.x_lab, data.y_lab, X_unlab=data.x_unlab)

    rows = {
        "pixels": (data.x_lab.reshape(100, -1), data.x_test.reshape(len(data.x_test), -1)),
        "features": (model.transform(data.x_lab), model.transform(data.x_test)),
    }
    errors = {"CLSGANClassifier itself": 1 - model.score(data.x_test, data.y_test)}
    for name, (x_lab, x_test) in rows.items():
        # with so few rows: small leaves, and a tenth of the columns for each split
        trees = HistGradientBoostingClassifier(min_samples_leaf=5, max_features=0.1, random_state=0)
        trees.fit(x_lab, data.y_lab)
        errors[f"gradient boosting on {name}"] = 1 - trees.score(x_test, data.y_test)
    for name, error in errors.items():
        print(f"{name:<30} {error:6.1%} test error")
    return errors


if __name__ == "__main__":
    main()
