"""One process at a time in a folder."""

import contextlib
import os
import socket
import sys
from pathlib import Path
from types import TracebackType

LOCK = ".lock"


class FolderLock:
    """A folder for one process alone.

    The system takes the lock back when its owner ends, in whatever way.

    Parameters
    ----------
    folder : Path
        Made where it is not there.

    Raises
    ------
    BlockingIOError
        On entering, if another process has it, or another run of this one.
    OSError
        On entering, if it cannot be written to.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as here, FolderLock(Path(here)):
    ...     with FolderLock(Path(here)):
    ...         pass
    Traceback (most recent call last):
    BlockingIOError: ... is in use by process ...
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.handle = folder, -1

    def __enter__(self) -> "FolderLock":
        try:
            self.made = not self.folder.exists()
            self.folder.mkdir(parents=True, exist_ok=True)
            self._open()
        except BlockingIOError:
            raise
        except OSError as error:
            raise OSError(f"{self.folder} cannot be written to: {error}") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            (self.folder / LOCK).unlink()
            if self.made:
                self.folder.rmdir()  # unless something was written
        os.close(self.handle)

    def _open(self) -> None:
        path = self.folder / LOCK
        while True:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                _lock(handle)
            except BlockingIOError:
                owner = os.read(handle, 200).decode(errors="replace").strip() or "another process"
                os.close(handle)
                raise BlockingIOError(
                    f"{self.folder} is in use by {owner}; wait for it, or give another folder"
                ) from None
            # an owner that ends removes its lock, perhaps between our two calls
            if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
                break
            os.close(handle)
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        self.handle = handle


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError from error
else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
