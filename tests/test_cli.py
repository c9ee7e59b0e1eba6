"""The command line: what it prints, what it writes, and how it says no."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clsgan import __version__
from clsgan.cli import main
from clsgan.config import packaged_recipes
from clsgan.data import load_data
from clsgan.estimator import CLSGANClassifier

SHORT = ["estimator.max_steps=5", "estimator.time_limit=null", "estimator.batch_size=32"]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "digits"
    assert main(["train", "digits", *SHORT, "--quiet", "baselines=[]", f"run={folder}"]) == 0
    return folder


@pytest.fixture(scope="module")
def digit_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve test digits as PNG files, half of them in a sub-folder."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "more").mkdir()
    for k, pixels in enumerate(load_data("digits").x_test[:12]):
        Image.fromarray(pixels).save(folder / ("more" if k >= 6 else "") / f"{k:02d}.png")
    return folder


def test_train_prints_a_table_and_numbers_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("data: {name: digits, labels: 50}\nbaselines: [supervised]")
    assert main(["train", "mine.yaml", *SHORT]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    table = [line.split() for line in lines]
    names = ["digits.seed0@50", "method", "clsgan", "supervised", f"{Path('runs/mine-1')}:"]
    assert [row[0] for row in table] == names  # and nothing else, so that it can go to a file
    assert table[2][2] == "500"
    assert "100%" in printed.err and "images/s" in printed.err
    assert "baseline supervised" in printed.err
    assert re.fullmatch(r"\d+\.\d s for all of it", printed.err.splitlines()[-1])
    assert (tmp_path / "runs" / "mine-1" / "results.json").exists()


def test_a_limit_of_seconds_is_that_of_fit_and_test(tmp_path: Path, capsys: Capture) -> None:
    given = ["estimator.time_limit=1", "estimator.generator=null", "baselines=[]"]
    assert main(["train", "digits", *given, "estimator.batch_size=32", f"run={tmp_path}/a"]) == 0
    last = capsys.readouterr().err.splitlines()[-1]
    found = re.fullmatch(r"(\d+\.\d) s for all of it; time_limit=1 is for each fit and .*", last)
    assert found is not None
    fit = json.loads((tmp_path / "a" / "results.json").read_text())["methods"][0]["seconds"]
    assert fit < 1 + 2 and fit < float(found[1]) + 0.05


def test_evaluate(run: Path, capsys: Capture) -> None:
    assert main(["evaluate", str(run)]) == 0
    printed = capsys.readouterr().out
    assert "of 500" in printed and "0 predictions changed" in printed
    lines = printed.splitlines()
    start = lines.index("confusion, true classes in rows") + 1
    assert lines[start].split() == [str(k) for k in range(10)]
    rows = [[int(cell) for cell in line.split()] for line in lines[start + 1 : start + 11]]
    counts = json.loads((run / "results.json").read_text())["report"]["confusion"]
    assert rows == [[k, *row] for k, row in enumerate(counts)]


def test_predict_prints_one_row_an_image(run: Path, digit_files: Path, capsys: Capture) -> None:
    assert main(["predict", str(run), str(digit_files)]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines(), delimiter="\t"))
    assert len(rows) == 12
    order = [int(Path(row["path"]).stem) for row in rows]
    model = CLSGANClassifier.load(run / "model")
    expected = model.predict(load_data("digits").x_test[order])
    assert [row["class"] for row in rows] == [str(y) for y in expected]
    assert all(0.1 <= float(row["probability"]) <= 1 for row in rows)
    assert all(0 <= float(row["outlier_score"]) <= 1 for row in rows)


def test_predict_writes_csv(run: Path, digit_files: Path, tmp_path: Path, capsys: Capture) -> None:
    image, out = str(digit_files / "00.png"), tmp_path / "p.csv"
    assert main(["predict", str(run), image, image, "--out", str(out)]) == 0
    rows = list(csv.reader(out.read_text().splitlines()))
    assert rows[0] == ["path", "class", "probability", "outlier_score"] and rows[1] == rows[2]
    assert capsys.readouterr().out == f"{out}: 2 rows\n"


def test_features_are_those_of_the_model(run: Path, digit_files: Path, tmp_path: Path) -> None:
    out = tmp_path / "f.npy"
    assert main(["features", str(run), str(digit_files / "00.png"), "--out", str(out)]) == 0
    model = CLSGANClassifier.load(run / "model")
    expected = model.transform(load_data("digits").x_test[:1])
    np.testing.assert_allclose(np.load(out), expected, rtol=1e-5)


def test_sample_writes_a_picture(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.png"
    assert main(["sample", str(run), "--out", str(out), "--per-class", "2", "--seed", "4"]) == 0
    with Image.open(out) as picture:
        assert picture.width > picture.height > 100  # ten columns of two


def test_recipes_are_listed(capsys: Capture) -> None:
    assert main(["recipes"]) == 0
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines()] == list(packaged_recipes())


def test_prepare_and_doctor(tmp_path: Path, capsys: Capture) -> None:
    assert main(["prepare", "digits", "--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path)
    assert main(["doctor", "--root", str(tmp_path)]) == 0
    assert "precision auto" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["train", "digit"], "did you mean 'digits'"),
        (["train", "digits", "estimator.max_step=3"], "did you mean 'estimator.max_steps'"),
        (["train", "digits", "--quiet", "data.sede=3"], "did you mean 'data.seed'"),
        (["train", "digits", "data.labels=many"], "data.labels: Value 'many'"),
        (["train", "nowhere.yaml"], "there is no recipe file nowhere.yaml"),
        (["evaluate", "nowhere"], "there is no run folder nowhere"),
        (["sample", "nowhere", "--out", "p.png"], "there is no run folder nowhere"),
        (["features", "nowhere", "a.png", "--out", "no/where.npy"], "there is no folder no"),
        (["prepare", "cifar"], "did you mean 'cifar10'"),
        (["train", "svhn-1000", "data.root=nowhere"], "clsgan prepare svhn"),
    ],
)
def test_what_is_wrong_is_said_in_one_message(
    line: list[str], message: str, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(line) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("clsgan: error: ") and message in printed.err
    assert "Traceback" not in printed.err and printed.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_missing_or_corrupt_image_is_named(run: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(["predict", str(run), str(tmp_path / "a.png")]) == 2
    assert f"there is no image or folder {tmp_path / 'a.png'}" in capsys.readouterr().err
    (tmp_path / "a.png").write_bytes(b"no image")
    assert main(["predict", str(run), str(tmp_path / "a.png")]) == 2
    assert str(tmp_path / "a.png") in capsys.readouterr().err


def test_under_a_launcher_only_training_runs(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert main(["recipes"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("clsgan: error (process 1 of 2): ") and "only clsgan train" in told


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(ValueError, match="did you mean 'digits'"):
        main(["train", "digit", "--debug"])


def test_unknown_options_end_with_the_usage(capsys: Capture) -> None:
    for line in (["train", "digits", "--quite"], ["doctor", "x=1"], ["trian"]):
        with pytest.raises(SystemExit) as caught:
            main(line)
        assert caught.value.code == 2
        assert "usage: clsgan" in capsys.readouterr().err


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "clsgan"]
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.strip() == f"clsgan {__version__}"
    alone = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "usage: clsgan" in alone.stdout and "train" in alone.stdout


def test_help_and_listing_load_no_heavy_package() -> None:
    code = (
        "import sys; from clsgan.cli import main; "
        "assert main(['recipes']) == 0; "
        "sys.exit(bool({'timm', 'albumentations', 'matplotlib', 'torchvision'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0
