"""The examples run, and show what they claim to show."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.mark.usefixtures("global_randomness_untouched")
def test_gradient_boosting_gains_by_the_features(capsys: pytest.CaptureFixture[str]) -> None:
    main = runpy.run_path(str(EXAMPLES / "gradient_boosting.py"))["main"]
    errors = main(["--steps", "80"])
    on = {name.rpartition(" ")[2]: error for name, error in errors.items()}
    assert on["features"] < on["pixels"] - 0.02 and on["pixels"] < 0.2
    assert f"gradient boosting on features  {on['features']:6.1%}" in capsys.readouterr().out
