"""Ctrl-C as a question: whether it was pressed, asked between two steps."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

NOTE = b"\nstopping after this step; Ctrl-C again stops at once\n"


class Interrupts:
    """Notes the first Ctrl-C of a block; the second raises KeyboardInterrupt as ever.

    A handler of the user's own is left alone, and so are threads but the main one, which Ctrl-C
    does not reach.

    Attributes
    ----------
    asked : bool
        Whether it was pressed.

    Examples
    --------
    >>> with Interrupts() as interrupts:
    ...     interrupts.asked
    False
    """

    def __init__(self) -> None:
        self.asked = self.insisted = False
        self.before: Any = None

    def __enter__(self) -> "Interrupts":
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self.before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.before is not None:
            signal.signal(signal.SIGINT, self.before)
            self.before = None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            self.insisted = True
            raise KeyboardInterrupt
        self.asked = True
        os.write(2, NOTE)  # not print: the signal may have come in the middle of one
