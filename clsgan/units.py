"""How values of users become what networks see, and back."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from clsgan.inputs import InputSpec

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Units:
    """How values of the user become what networks see: ``(x - offset) / scale``.

    Attributes
    ----------
    offset, scale : array, float64
        One number for images, one for each column of rows.

    Examples
    --------
    >>> units = Units(np.array(127.5), np.array(127.5))
    >>> units.standardise(np.array([0, 255], np.uint8))
    array([-1.,  1.], dtype=float32)
    """

    offset: Array
    scale: Array

    def standardise(self, X: Array) -> Array:
        """Values as networks see them, float32."""
        if self.offset.ndim == 0:  # pixels: torch does it with all threads
            pixels = torch.from_numpy(X if X.flags.writeable else X.copy())
            pixels = pixels.to(torch.float32, copy=True)
            return np.asarray(pixels.sub_(float(self.offset)).div_(float(self.scale)).numpy())
        return ((X - self.offset) / self.scale).astype(np.float32)

    def restore(self, x: Array, spec: InputSpec) -> Array:
        """Values in the units and the type of the training rows."""
        values = x.astype(np.float64) * self.scale + self.offset
        kind = np.dtype(spec.dtype)
        if spec.is_image:
            values = np.clip(values, spec.low, spec.high)
        if kind.kind in "iu":
            values = np.clip(values, np.iinfo(kind).min, np.iinfo(kind).max)
        return (np.rint(values) if kind.kind in "iub" else values).astype(kind)
