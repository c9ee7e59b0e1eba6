"""Ctrl-C and SIGTERM as a question: whether one came, asked between two steps."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

NOTE = b"\nstopping after this step; Ctrl-C again stops at once\n"
# What a signal does unless a program has its own wish; torchrun, Slurm and Kubernetes send SIGTERM.
USUAL = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


class Interrupts:
    """Notes the first Ctrl-C or SIGTERM of a block; the second raises KeyboardInterrupt.

    A handler of the user's own is left alone, and so are threads but the main one, which signals
    do not reach.

    Attributes
    ----------
    asked : bool
        Whether one came.

    Examples
    --------
    >>> with Interrupts() as interrupts:
    ...     interrupts.asked
    False
    """

    def __init__(self) -> None:
        self.asked = self.insisted = False
        self.before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number, usual in USUAL.items():
                if signal.getsignal(number) == usual:
                    self.before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            self.insisted = True
            raise KeyboardInterrupt
        self.asked = True
        os.write(2, NOTE)  # not print: the signal may have come in the middle of one
