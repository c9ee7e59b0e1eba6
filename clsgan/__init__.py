"""Semi-supervised image classification with the conditional Loss-Sensitive GAN.

Sign convention: a loss is low on real data and high on generated data.
"""

from clsgan._version import __version__
from clsgan.density import LSGAN
from clsgan.estimator import CLSGANClassifier
from clsgan.sources import Unlabeled

__all__ = ["LSGAN", "CLSGANClassifier", "Unlabeled", "__version__"]
