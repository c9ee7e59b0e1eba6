"""What the arguments of a job come to: the settings that the loop has, with all defaults."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from objective_toys import TOYS

from clsgan import LSGAN, CLSGANClassifier
from clsgan.data_sets import DATA_SETS
from clsgan.defaults import resolve_density_settings, resolve_settings
from clsgan.inputs import InputSpec
from clsgan.settings import Settings


def resolved_density(data: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of `LSGAN` with these arguments on a data set."""
    params = LSGAN(**arguments).all_params()
    return plain(resolve_density_settings(params, spec_of(data)))


def resolved_classifier(data: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of `CLSGANClassifier` with these arguments and all training rows."""
    params = CLSGANClassifier(**arguments).get_params()
    return plain(resolve_settings(params, spec_of(data), DATA_SETS[data].n_train))


def spec_of(data: str) -> InputSpec:
    """Form of the rows of a data set, known without reading it."""
    if data in TOYS:
        return InputSpec(TOYS[data]().shape[1:], "ND", "float64")
    height, width, *channels = DATA_SETS[data].image_shape
    layout = "NHWC" if channels else "NHW"
    return InputSpec((*(channels or [1]), height, width), layout, "uint8", 0.0, 255.0)


def plain(settings: Settings) -> dict[str, Any]:
    """Settings as JSON holds them: functions by their names, a system by its name and options."""
    objective, system = shallow(settings.objective), settings.objective.system
    objective["cost"] = settings.objective.cost.__name__
    objective["system"] = system and {"name": system.name, "options": dict(system.options)}
    return {**shallow(settings), "objective": objective}


def shallow(record: Any) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in fields(record)}
