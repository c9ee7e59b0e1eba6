"""Loss networks and generators, chosen by name, or given as modules."""

from clsgan.networks.build import GENERATORS, LOSS_NETWORKS, build_generator, build_loss_network
from clsgan.networks.generators import MLPGenerator, PaperGenerator, SmallGenerator
from clsgan.networks.level import Level, level_of, remove_level
from clsgan.networks.loss_networks import (
    MLPLossNetwork,
    PaperLossNetwork,
    SmallLossNetwork,
    small_operations,
)
from clsgan.networks.timm_backbone import TimmLossNetwork
from clsgan.networks.whitening import WhiteningStem, whiten_stem
from clsgan.networks.wide_resnet import WideResNet

__all__ = [
    "GENERATORS",
    "LOSS_NETWORKS",
    "Level",
    "MLPGenerator",
    "MLPLossNetwork",
    "PaperGenerator",
    "PaperLossNetwork",
    "SmallGenerator",
    "SmallLossNetwork",
    "TimmLossNetwork",
    "WhiteningStem",
    "WideResNet",
    "build_generator",
    "build_loss_network",
    "level_of",
    "remove_level",
    "small_operations",
    "whiten_stem",
]
