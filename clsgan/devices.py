"""Device, precision and random state of a run."""

import inspect
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch

from clsgan.choices import one_of
from clsgan.threads import share_rounding

if TYPE_CHECKING:
    from lightning_fabric import Fabric

ACCELERATORS = {"auto": "auto", "cpu": "cpu", "cuda": "cuda", "mps": "mps"}
PRECISIONS = {"auto": "", "32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
AUTOCAST_TYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def has_hardware_bf16(device_type: str) -> bool:
    """Whether a device multiplies bfloat16 matrices in hardware.

    Parameters
    ----------
    device_type : {"cpu", "cuda", "mps"}

    Returns
    -------
    bool
        On CPUs, whether they have AMX or AVX-512 BF16 (or BF16 of ARM).

    Examples
    --------
    >>> has_hardware_bf16("mps")
    False
    """
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device_type == "cpu" and _cpu_has("amx_bf16", "avx512_bf16", "bf16")


def matmul_kind(in_bf16: bool) -> str:
    """What multiplies the matrices of a CPU: the quicker it is, the wider a network has the time.

    Parameters
    ----------
    in_bf16 : bool
        Whether they are in bfloat16.

    Returns
    -------
    {"amx", "bf16", "float32"}
        "bf16" is hardware for bfloat16 other than AMX; without any, bfloat16 is taken to be as slow
        as float32.

    Examples
    --------
    >>> matmul_kind(in_bf16=False)
    'float32'
    """
    if not (in_bf16 and has_hardware_bf16("cpu")):
        return "float32"
    return "amx" if _cpu_has("amx_bf16") else "bf16"


def _cpu_has(*names: str) -> bool:
    if not hasattr(torch.cpu, "get_capabilities"):  # older torch does not tell
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in names)


def choose_precision(precision: str, device_type: str, is_image: bool = True) -> str:
    """Fabric's name of the precision to train and predict in.

    Parameters
    ----------
    precision : {"auto", "32", "bf16", "16"}
        "auto" is bf16 for images where the device has it in hardware, else 32.
    device_type : {"cpu", "cuda", "mps"}
    is_image : bool

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If the precision is unknown, or is "16" on a CPU.

    Examples
    --------
    >>> choose_precision("32", "cpu")
    '32-true'
    """
    chosen = one_of("precision", precision, PRECISIONS)
    if precision == "16" and device_type == "cpu":
        raise ValueError("precision='16' needs a GPU; on a CPU choose 'auto', 'bf16' or '32'")
    if precision == "auto":
        return "bf16-mixed" if is_image and has_hardware_bf16(device_type) else "32-true"
    return chosen


def choose_device(accelerator: str) -> str:
    """Device type of an accelerator's name.

    Parameters
    ----------
    accelerator : {"auto", "cpu", "cuda", "mps"}

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If the name is unknown or no such device is there.

    Examples
    --------
    >>> choose_device("cpu")
    'cpu'
    """
    one_of("accelerator", accelerator, ACCELERATORS)
    there = {"cpu": True, "cuda": torch.cuda.is_available()}
    there["mps"] = torch.backends.mps.is_available()
    if accelerator == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there[accelerator]:
        found = [name for name, present in there.items() if present]
        raise ValueError(f"accelerator={accelerator!r}: no such device; found {found}")
    return accelerator


def make_fabric(device_type: str, precision: str) -> "Fabric":
    """Lightning Fabric on one device, or on those that torchrun or `fabric run` has prepared.

    Parameters
    ----------
    device_type : {"cpu", "cuda", "mps"}
    precision : str
        As `choose_precision` gives it.

    Returns
    -------
    Fabric
        Launched; no process is started here.

    Examples
    --------
    >>> make_fabric("cpu", "32-true").world_size
    1
    """
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy

    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    where: dict[str, Any] = {"devices": 1}
    if world_size > 1:
        where = {"devices": local, "num_nodes": world_size // local}
        where["strategy"] = DDPStrategy(**_own_buffers())
    with _quiet_and_free():
        fabric = Fabric(accelerator=device_type, precision=precision, **where)  # type: ignore[arg-type]
        fabric.launch()
    return fabric


@contextmanager
def _quiet_and_free() -> Iterator[None]:
    """Without what Fabric tells at every fit, and what `fabric run` left to override `fit` with."""
    logger = logging.getLogger("lightning_fabric")
    level = logger.level
    left = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("LT_")}
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        os.environ.update(left)


def _own_buffers() -> dict[str, Any]:
    """Running statistics are averaged once, when training ends (`processes.average_buffers`)."""
    wrapper = torch.nn.parallel.DistributedDataParallel
    known = inspect.signature(wrapper.__init__).parameters
    newer = "forward_sync_buffers"
    return {newer if newer in known else "broadcast_buffers": False}


def autocast_for(precision: str, device_type: str) -> Callable[[], AbstractContextManager[object]]:
    """What makes the context in which a network predicts as it was trained.

    Parameters
    ----------
    precision : str
        As `choose_precision` gives it.
    device_type : {"cpu", "cuda", "mps"}

    Returns
    -------
    callable

    Examples
    --------
    >>> with autocast_for("32-true", "cpu")():
    ...     torch.is_autocast_enabled("cpu")
    False
    """
    if precision not in AUTOCAST_TYPES:
        return without_autocast
    return lambda: _autocast(device_type, AUTOCAST_TYPES[precision])


@contextmanager
def _autocast(device_type: str, dtype: torch.dtype) -> Iterator[None]:
    with without_autocast(), torch.autocast(device_type, dtype):
        yield


@contextmanager
def without_autocast() -> Iterator[None]:
    """Calculate in the types that tensors have, whatever autocast the program around has on.

    Examples
    --------
    >>> with torch.autocast("cpu", torch.bfloat16), without_autocast():
    ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    torch.float32
    """
    inside = torch.autocast_increment_nesting() > 1
    torch.autocast_decrement_nesting()
    with ExitStack() as stack:
        if inside:
            others = [kind for kind in ("cuda", "mps") if torch.is_autocast_enabled(kind)]
            for kind in ("cpu", *others):
                # weights that were cast are kept until the outermost autocast ends: training
                # would go on with old ones
                stack.enter_context(torch.autocast(kind, enabled=False, cache_enabled=False))
        yield


@contextmanager
def seeded(seed: int, device_type: str = "cpu") -> Iterator[None]:
    """Seed torch's global random state for a block, and leave it as it was found.

    One thread of a program at a time: the others wait, since they share that state.

    Parameters
    ----------
    seed : int
    device_type : {"cpu", "cuda", "mps"}

    Examples
    --------
    >>> with seeded(0):
    ...     a = torch.rand(1)
    >>> with seeded(0):
    ...     a == torch.rand(1)
    tensor([True])
    """
    device: Any = {"cuda": torch.cuda, "mps": torch.mps}.get(device_type)
    with _GLOBAL_STATE:
        state = torch.get_rng_state()
        device_state = None if device is None else device.get_rng_state()
        torch.default_generator.manual_seed(seed)
        if device is not None:
            device.manual_seed(seed)
        try:
            yield
        finally:
            torch.set_rng_state(state)
            if device is not None:
                device.set_rng_state(device_state)


_GLOBAL_STATE = threading.RLock()


@contextmanager
def own_modes() -> Iterator[None]:
    """Train in float32, without autocast and with gradients, whatever the program around has set.

    `torch.set_default_dtype` is for all threads of a program; use it inside `seeded`, which lets
    one of them in at a time.

    Examples
    --------
    >>> with torch.no_grad(), own_modes():
    ...     torch.is_grad_enabled()
    True
    """
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.inference_mode(False), torch.enable_grad(), without_autocast():
            yield
    finally:
        torch.set_default_dtype(default)


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Treat denormal numbers as zero while a block runs: CPUs multiply them very slowly.

    In the calling thread and in torch's worker threads (`clsgan.threads.share_rounding`), which
    afterwards do what the calling thread does. Without a way into the workers they keep what the
    thread that started them had.

    Examples
    --------
    >>> with flushed_denormals():
    ...     float(torch.tensor(1e-39) * 1)
    0.0
    """
    was_on = float(torch.tensor(1e-39) * 1) == 0.0
    torch.set_flush_denormal(True)
    share_rounding()
    try:
        yield
    finally:
        torch.set_flush_denormal(was_on)
        share_rounding()
