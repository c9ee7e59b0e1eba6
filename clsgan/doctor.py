"""What this installation can do: versions, device, precision, what is missing, which data."""

from __future__ import annotations

import os
import platform
import re
import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from clsgan._version import __version__
from clsgan.devices import choose_device, choose_precision, has_hardware_bf16

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scikit-learn",
    "lightning-fabric",
    "timm",
    "albumentations",
    "omegaconf",
)
BF16_FEATURES = ("amx_bf16", "amx_tile", "avx512_bf16", "bf16")


def doctor(root: str | Path | None = None) -> str:
    """Report on this installation, for people.

    Parameters
    ----------
    root : str or Path or None, default=None
        Where to look for data sets; None looks where ``clsgan prepare`` puts them.

    Returns
    -------
    str
        Lines of "what: finding".

    Examples
    --------
    >>> from clsgan.doctor import doctor
    >>> "precision auto" in doctor()
    True
    """
    facts = machine()
    lines = [("clsgan", __version__), ("python", f"{platform.python_version()} ({sys.executable})")]
    lines += [(name, version or "MISSING") for name, version in versions_or_none().items()]
    lines += [
        ("system", facts["system"]),
        (
            "processor",
            f"{facts['processor']}, {facts['cores']} cores, {torch.get_num_threads()} used",
        ),
        ("memory", f"{facts['memory_gb']} GB" if facts["memory_gb"] else "unknown"),
        ("device auto", facts["device"]),
        ("bf16 hardware", facts["bf16"] or "none"),
        ("precision auto", facts["precision"]),
    ]
    lines += [(f"data {name}", finding) for name, finding in _data_sets(root).items()]
    lines += _missing()
    width = max(len(name) for name, _ in lines) + 1
    return "\n".join(f"{name + ':':<{width}} {finding}" for name, finding in lines)


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of the packages that decide results.

    Returns
    -------
    dict of str
        By name; packages that are not installed are left out.

    Examples
    --------
    >>> from clsgan.doctor import versions
    >>> {"clsgan", "python", "torch"} <= set(versions())
    True
    """
    found = {name: version for name, version in versions_or_none().items() if version}
    return {"clsgan": __version__, "python": platform.python_version(), **found}


def versions_or_none() -> dict[str, str | None]:
    """Versions of the packages that decide results, None for one that is not installed.

    Returns
    -------
    dict

    Examples
    --------
    >>> from clsgan.doctor import versions_or_none
    >>> versions_or_none()["torch"] is None
    False
    """
    return {name: _version(name) for name in PACKAGES}


def machine() -> dict[str, Any]:
    """What a figure was measured on.

    Returns
    -------
    dict
        ``system``, ``processor``, ``cores`` (that this process may use), ``threads`` of torch,
        ``memory_gb``, ``device`` and ``precision`` (what "auto" chooses), ``bf16`` (what the device
        has for it).

    Examples
    --------
    >>> from clsgan.doctor import machine
    >>> machine()["cores"] >= 1
    True
    """
    device = choose_device("auto")
    name = torch.cuda.get_device_name() if device == "cuda" else device
    return {
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "processor": _processor(),
        "cores": _cores(),
        "threads": torch.get_num_threads(),
        "memory_gb": _memory_gb(),
        "device": name,
        "bf16": _bf16(device),
        "precision": choose_precision("auto", device),
    }


def peak_memory_mb() -> dict[str, float]:
    """Greatest memory that this process has held so far, in MB (10^6 bytes).

    Returns
    -------
    dict of float
        ``process``, where the system tells it, and ``cuda``, where there is one.

    Examples
    --------
    >>> from clsgan.doctor import peak_memory_mb
    >>> peak_memory_mb().get("process", 1) > 0
    True
    """
    found = {}
    if sys.platform != "win32":
        import resource

        unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, kibibytes elsewhere
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        found["process"] = round(used / 1e6, 1)
    if torch.cuda.is_available():
        found["cuda"] = round(torch.cuda.max_memory_allocated() / 1e6, 1)
    return found


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    """The name the system gives its processor; `platform.processor` is mostly empty on Linux."""
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.exists():
        named = re.search(r"^model name\s*:\s*(.+)$", cpu_info.read_text(), re.MULTILINE)
        if named:
            return named[1]
    return platform.processor() or platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_gb() -> float | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)


def _bf16(device: str) -> str:
    if not has_hardware_bf16(device):
        return ""
    if device != "cpu":
        return device
    found = torch.cpu.get_capabilities()
    return ", ".join(name for name in BF16_FEATURES if found.get(name, False))


def _data_sets(root: str | Path | None) -> dict[str, str]:
    from clsgan.data import find_data
    from clsgan.data_sets import DATA_SETS, prepare_command

    found = {}
    for name, known in DATA_SETS.items():
        folder = find_data(name, root)
        found[name] = str(folder) if folder else f"not here: {prepare_command(name, root)}"
        if not known.files:
            found[name] = "comes with scikit-learn"
    return found


def _missing() -> list[tuple[str, str]]:
    """Packages of an extra, or required ones, that are not here, and how to install them."""
    if _version("clsgan") is None:
        return [("missing", "clsgan itself is not installed; from a checkout: pip install -e .")]
    from packaging.requirements import Requirement

    absent: dict[str, list[Requirement]] = {}
    for need in map(Requirement, metadata.requires("clsgan") or ()):
        if _version(need.name) is None:
            extra = re.search(r'extra == "([^"]+)"', str(need.marker or ""))
            absent.setdefault(extra[1] if extra else "", []).append(need)
    return [
        (f"missing for [{extra}]" if extra else "MISSING", _pip(needs))
        for extra, needs in absent.items()
    ]


def _pip(needs: list[Requirement]) -> str:
    """The line that installs these; by themselves, since "clsgan" may be another's on an index."""
    for need in needs:
        need.marker = None
    names = ", ".join(need.name for need in needs)
    return f"{names}: pip install {' '.join(shlex.quote(str(need)) for need in needs)}"
