"""What a run writes while it trains: JSON lines, TensorBoard events and a progress bar."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self

METRICS_FILE = "metrics.jsonl"
TENSORBOARD_FOLDER = "tensorboard"
FLUSH_SECONDS = 10.0  # from one flush of TensorBoard's file to the next: each waits for the disk
BAR_FORMAT = "{percentage:3.0f}%|{bar:30}| {elapsed} · {desc}"


class RunLog:
    """Record scalars by step, and show how far a run has come.

    Every record is kept in :attr:`records`. With a folder it is also appended to
    ``folder/metrics.jsonl``, one JSON object a line, flushed at once so that a run that is cut off
    leaves a readable file, and to TensorBoard events in ``folder/tensorboard``.

    Parameters
    ----------
    folder : str or Path or None, default=None
        Where to write; None writes nothing. It is made if it does not exist.
    verbose : int, default=0
        Above 0, a progress bar is shown on standard error.
    total_seconds : float or None, default=None
        The time limit of the run, in seconds; shown beside the bar.
    total_steps : int or None, default=None
        The number of steps of the run; shown beside the bar.
    is_global_zero : bool, default=True
        False on every process but the first: it then writes and shows nothing, and keeps its
        own records only.

    Attributes
    ----------
    records : list of dict
        What was written, in order: ``{"step": step, **scalars}``.

    Examples
    --------
    >>> from clsgan.runlog import RunLog
    >>> with RunLog() as log:
    ...     log.write(10, loss=0.5, images_per_second=850)
    ...     log.update(0.5, "loss 0.50 · 850 images/s")
    >>> log.records
    [{'step': 10, 'loss': 0.5, 'images_per_second': 850.0}]
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        verbose: int = 0,
        *,
        total_seconds: float | None = None,
        total_steps: int | None = None,
        is_global_zero: bool = True,
    ) -> None:
        self.records: list[dict[str, Any]] = []
        self.folder = None if folder is None or not is_global_zero else Path(folder)
        self._lines: FileIO | None = None
        self._events: Any = None
        self._flushed = time.monotonic()
        self._bar: Any = None
        self._purge_step: int | None = None
        if verbose > 0 and is_global_zero:
            self._bar = _open_bar(_describe_total(total_seconds, total_steps))

    def write(self, step: int, **scalars: float) -> None:
        """Record scalars reached at a step.

        Parameters
        ----------
        step : int
            The number of steps done.
        **scalars : float
            Values by name; one-element tensors are taken too. A value that is not finite is
            written to the JSON line as a string ("nan", "inf"), since JSON has no such number.

        Raises
        ------
        OSError
            If a file cannot be written; the lines before stay readable.

        Examples
        --------
        >>> log = RunLog()
        >>> log.write(1, loss=1.25)
        >>> log.records[-1]["loss"]
        1.25
        """
        values = {name: float(value) for name, value in scalars.items()}
        record = {"step": int(step), **values}
        self.records.append(record)
        if self.folder is None:
            return
        lines = self._lines if self._lines is not None else self._open_files(self.folder)
        text = json.dumps({k: _json_number(v) for k, v in record.items()}) + "\n"
        place = self.folder / METRICS_FILE
        try:
            _append(lines, text.encode())
            place = self.folder / TENSORBOARD_FOLDER
            _add_events(self._events, int(step), values)
            if time.monotonic() - self._flushed >= FLUSH_SECONDS:
                self._events.flush()
                self._flushed = time.monotonic()
        except OSError as error:
            with contextlib.suppress(OSError):  # what is written last may fail again
                self._close_files()
            raise OSError(f"{place} cannot be written at step {step}: {error}") from error

    def state_dict(self) -> dict[str, Any]:
        """The records, the size of the file of metrics, and the folder that it lies in.

        Examples
        --------
        >>> RunLog().state_dict()
        {'records': [], 'file_size': 0, 'folder': None}
        """
        path = None if self.folder is None else self.folder / METRICS_FILE
        size = path.stat().st_size if path is not None and path.exists() else 0
        return {"records": list(self.records), "file_size": size, "folder": self._place()}

    def load_state_dict(self, state: Mapping[str, Any], step: int) -> None:
        """Go on from a step: lines that were written after it are cut off.

        A file of metrics in another folder than that of `state` is of another run, and stays.

        Examples
        --------
        >>> log = RunLog()
        >>> log.load_state_dict({"records": [{"step": 1}], "file_size": 0}, step=1)
        >>> log.records
        [{'step': 1}]
        """
        self.records[:] = state["records"]
        if self.folder is None or state.get("folder") != self._place():
            return
        self._close_files()
        path, size = self.folder / METRICS_FILE, int(state["file_size"])
        if path.exists() and path.stat().st_size > size:
            os.truncate(path, size)
        self._purge_step = step + 1

    def update(self, fraction: float, text: str = "") -> None:
        """Move the progress bar.

        Parameters
        ----------
        fraction : float
            How much of the run is done, from 0 to 1; values outside are clipped.
        text : str, default=""
            A short text beside the bar, such as "loss 0.42 · 850 images/s".

        Examples
        --------
        >>> RunLog(verbose=0).update(0.25, "loss 0.42")
        """
        if self._bar is None:
            return
        if text:
            self._bar.set_description_str(text, refresh=False)
        target = 100.0 * min(max(float(fraction), 0.0), 1.0)
        self._bar.update(max(target - self._bar.n, 0.0))

    def close(self) -> None:
        """Flush and close the files and the bar; closing twice does nothing.

        Raises
        ------
        OSError
            If TensorBoard's file cannot be written to its end.

        Examples
        --------
        >>> log = RunLog()
        >>> log.close()
        >>> log.close()
        """
        if self._bar is not None:
            self._bar.refresh()
            self._bar.close()
            self._bar = None
        try:
            self._close_files()
        except OSError as error:
            place = f"{self.folder}/{TENSORBOARD_FOLDER}"
            raise OSError(f"{place} cannot be written to its end: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _place(self) -> str | None:
        return None if self.folder is None else str(self.folder.resolve())

    def _close_files(self) -> None:
        lines, events = self._lines, self._events
        self._lines = self._events = None
        if lines is not None:
            lines.close()
        if events is not None:
            events.close()

    def _open_files(self, folder: Path) -> FileIO:
        folder.mkdir(parents=True, exist_ok=True)
        self._lines = FileIO(folder / METRICS_FILE, "a")
        self._events = _open_events(folder / TENSORBOARD_FOLDER, self._purge_step)
        return self._lines


def _append(file: FileIO, line: bytes) -> None:
    """Write a line whole or not at all."""
    size = os.fstat(file.fileno()).st_size
    try:
        while line:
            line = line[file.write(line) :]
    except OSError:
        with contextlib.suppress(OSError):
            file.truncate(size)
        raise


def _open_events(folder: Path, purge_step: int | None) -> Any:
    """TensorBoard's file, without the thread of a `SummaryWriter`: a full disk would stop that
    thread, and the run would wait for it for ever.
    """
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    folder.mkdir(exist_ok=True)
    events = EventsWriter(str(folder / "events"))
    if purge_step is not None:
        start = SessionLog(status=SessionLog.START)
        events.write_event(Event(wall_time=time.time(), step=purge_step, session_log=start))
    return events


def _add_events(events: Any, step: int, values: Mapping[str, float]) -> None:
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.summary import scalar

    for name, value in values.items():
        summary = scalar(name, value)
        events.write_event(Event(wall_time=time.time(), step=step, summary=summary))


def _json_number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _describe_total(seconds: float | None, steps: int | None) -> str:
    parts = [] if steps is None else [f"{steps} steps"]
    if seconds is not None:
        parts.append(f"{seconds:g} s at most" if steps is not None else f"{seconds:g} s")
    return ", ".join(parts)


def _open_bar(text: str) -> Any:
    from tqdm import tqdm

    # a terminal is refreshed often; a log file gets a few lines, not hundreds
    pause = 0.1 if sys.stderr.isatty() else 2.0
    return tqdm(total=100.0, desc=text, file=sys.stderr, bar_format=BAR_FORMAT, mininterval=pause)
