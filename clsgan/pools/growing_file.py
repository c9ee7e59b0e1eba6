"""Files that grow over several calls, of one process at a time, and get their names when whole."""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from clsgan.folder_lock import FolderLock
from clsgan.run_folder import read_json, write_json


class GrowingFile:
    """A file and those that grow with it, called ``.partial`` until they are whole.

    A call that was stopped goes on with what lies there, if it is made of the same.

    Parameters
    ----------
    target : Path
    made_of : mapping
        What JSON can hold; kept in a file beside it that ends in ``.begun``.
    beside : tuple of str
        How the names of files that grow with it go on behind its own.

    Attributes
    ----------
    partials : list of Path
        Where to write, once entered.

    Raises
    ------
    BlockingIOError
        On entering, if another call writes it.
    FileExistsError
        On entering, if what lies there is made of something else.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as here:
    ...     with GrowingFile(Path(here, "a.txt"), {"letter": "a"}) as growing:
    ...         _ = growing.partials[0].write_text("aaa")
    ...         growing.finish()
    ...     os.listdir(here)
    ['a.txt']
    """

    def __init__(
        self, target: Path, made_of: Mapping[str, Any], beside: tuple[str, ...] = ()
    ) -> None:
        self.target, self.made_of = target, json.loads(json.dumps(made_of))
        self.names = [target, *(target.with_name(target.name + end) for end in beside)]
        self.partials = [path.with_name(f"{path.name}.partial") for path in self.names]
        self.begun = target.with_name(f"{target.name}.begun")
        self.lock = FolderLock(target.with_name(f".{target.name}.lock"))

    def __enter__(self) -> "GrowingFile":
        try:
            self.lock.__enter__()
        except BlockingIOError as error:
            raise BlockingIOError(
                f"{self.target} is being written by another call ({error})"
            ) from error
        try:
            self._begin()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.lock.__exit__(kind, error, trace)
        with contextlib.suppress(OSError):  # left behind by a call that was killed
            self.lock.folder.rmdir()

    def finish(self) -> None:
        """Give the files their names, the first one last."""
        for partial, path in zip(reversed(self.partials), reversed(self.names), strict=True):
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(partial, path)
        self.begun.unlink()

    def discard(self) -> None:
        """Delete what was written."""
        for path in (*self.partials, self.begun):
            path.unlink(missing_ok=True)

    def _begin(self) -> None:
        if self.partials[0].exists() and self.begun.exists():
            if read_json(self.begun) != self.made_of:
                raise FileExistsError(
                    f"{self.partials[0]} was begun with another model or other shards; delete it "
                    "to begin anew"
                )
        else:
            self.discard()
            write_json(self.begun, self.made_of)
        for path in self.partials:
            path.touch()
