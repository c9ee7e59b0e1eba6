"""Packaging of clsgan; the settings of the tools stand in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "clsgan/_version.py").read_text())[1]

METRICS = ["torch-fidelity>=0.4"]
DEV = [
    "hypothesis>=6.100",
    "import-linter>=2.1",
    "mypy>=1.15",
    "numpydoc>=1.8",
    "pandas>=2.2",
    "pytest>=8",
    "ruff>=0.12",
]

setup(
    name="clsgan",
    version=VERSION,
    description="Classify with few labels: the conditional loss-sensitive GAN as an estimator",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="clsgan authors",
    license="MIT",
    python_requires=">=3.11",
    packages=[*find_packages(include=["clsgan", "clsgan.*"]), "clsgan.recipes"],
    package_dir={"clsgan.recipes": "recipes"},
    package_data={"clsgan": ["py.typed"], "clsgan.recipes": ["*.yaml"]},
    entry_points={"console_scripts": ["clsgan=clsgan.cli:main"]},
    install_requires=[
        "albumentations>=2.0.8,<2.0.9",  # 2.0.9 and later carry another licence (AGPL)
        "lightning-fabric>=2.6.4",
        "matplotlib>=3.8",
        "numpy>=1.26",
        "omegaconf>=2.3",
        "packaging>=23",
        "pillow>=10.3",
        "pyyaml>=6",
        "safetensors>=0.4.3",
        "scikit-learn>=1.6",
        "scipy>=1.12",
        "tensorboardX>=2.6.2",
        "timm>=1.0.3",
        "torch>=2.6",
        "torchvision>=0.21",
        "tqdm>=4.66",
    ],
    extras_require={"metrics": METRICS, "dev": DEV},
    zip_safe=False,
)
