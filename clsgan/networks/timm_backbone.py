"""Any classifier of timm as a loss network; timm itself is imported only when one is built."""

from collections.abc import Sequence
from difflib import get_close_matches
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from clsgan.networks.level import Level
from clsgan.networks.shapes import full_precision, image_shape


class TimmLossNetwork(nn.Module):
    """A timm model, its logits beside its pooled features in one pass.

    Parameters
    ----------
    model_name : str
        As in `timm.list_models()`, such as "resnet18" or "vit_tiny_patch16_224".
    input_shape : tuple of int
        (C, H, W). Models that are made for one size are built for this one.
    n_classes : int
    pretrained : bool, default=False
        Start from published weights, which timm downloads. They expect inputs of their own
        mean and scale; here they get [-1, 1].

    Attributes
    ----------
    num_features : int

    Raises
    ------
    ImportError
        If timm is not installed.
    ValueError
        If timm has no such model, or it has no single linear classifier. `try_out` tells whether
        it can take images of this shape.

    Examples
    --------
    >>> network = TimmLossNetwork("resnet10t", (3, 32, 32), 10)
    >>> network.num_features
    512
    >>> network.try_out((3, 32, 32))
    """

    def __init__(
        self,
        model_name: str,
        input_shape: Sequence[int],
        n_classes: int,
        *,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        shape = image_shape(input_shape, f"timm:{model_name}")
        timm = _import_timm()
        if not timm.is_model(model_name):
            raise ValueError(_unknown_model(timm, model_name))
        self.model_name, self.n_classes = model_name, n_classes
        self.model = _create(timm, model_name, shape, n_classes, pretrained)
        self.num_features = self._width()
        self.level: nn.Module | None = Level(self.num_features)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and features.

        Parameters
        ----------
        x : Tensor [B, C, H, W]
            In [-1, 1].

        Returns
        -------
        logits : Tensor [B, K]
        features : Tensor [B, F]
        """
        logits, features = self._parts(x)
        if self.level is not None:
            logits = logits + self.level(features, logits)
        return logits, features

    @torch.no_grad()
    def try_out(self, shape: Sequence[int]) -> None:
        """Refuse the model unless the two-part pass gives what the model itself gives.

        It takes the memory of a pass of two images; a model that comes back from disk was tried
        out when it was built first.

        Parameters
        ----------
        shape : sequence of int
            (C, H, W).

        Raises
        ------
        ValueError
            If the model cannot take images of this shape, or is of another structure.
        """
        x = torch.linspace(-1, 1, 2 * torch.Size(shape).numel()).view(2, *shape)
        self.eval()
        try:
            expected = self.model(x)
            logits, features = self._parts(x)
        # Each of timm's models has errors of its own for a size that it cannot take.
        except Exception as error:
            raise ValueError(
                f"timm:{self.model_name} does not work on images of shape {list(shape)}: "
                f"{type(error).__name__}: {error}"
            ) from error
        finally:
            self.train()
        right = logits.shape == (2, self.n_classes) and features.shape == (2, self.num_features)
        if not right or not torch.allclose(logits, expected, atol=1e-4):
            raise ValueError(self._no_single_classifier())

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.model.forward_head(self.model.forward_features(x), pre_logits=True)
        logits = self.model.get_classifier()(features)
        return full_precision(logits), full_precision(features)

    def _width(self) -> int:
        """Number of features, as the classifier takes them; no pass is needed to tell."""
        classifier = self.model.get_classifier()
        parts = classifier.modules() if isinstance(classifier, nn.Module) else []
        layer = next((part for part in parts if isinstance(part, nn.Linear)), None)
        if layer is None:
            raise ValueError(self._no_single_classifier())
        return layer.in_features

    def _no_single_classifier(self) -> str:
        return (
            f"timm:{self.model_name} has no single linear classifier on pooled features; give "
            f"timm.create_model({self.model_name!r}, num_classes={self.n_classes}) itself instead"
        )


def _import_timm() -> ModuleType:
    try:
        import timm
    except ImportError as error:
        raise ImportError(
            "loss networks named timm:<model> need timm; install it with: pip install timm"
        ) from error
    return timm


def _unknown_model(timm: ModuleType, model_name: str) -> str:
    """Message with the nearest few of more than a thousand names."""
    near = get_close_matches(model_name, timm.list_models(), n=5, cutoff=0.4)
    hint = f"the nearest: {near}" if near else "timm.list_models() has the valid names"
    return f"timm has no model {model_name!r}; {hint}"


def _create(
    timm: ModuleType,
    model_name: str,
    shape: tuple[int, int, int],
    n_classes: int,
    pretrained: bool,
) -> Any:
    """The model, built for this image size where it asks for one."""
    options = {"pretrained": pretrained, "in_chans": shape[0], "num_classes": n_classes}
    try:
        return timm.create_model(model_name, img_size=shape[1:], **options)
    except TypeError as error:
        # timm does not say which models have a size; those without refuse the argument.
        if "img_size" not in str(error):
            raise
    return timm.create_model(model_name, **options)
