"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from foreseen.errors import UserError

LOCK = ".lock"


def write_through(path: Path, content: bytes) -> None:
    """Writes a file and waits until the disk has it."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Waits until the disk has the folder's names. Systems that cannot open a folder need no such wait."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_atomically(path: Path, content: bytes) -> None:
    """Writes beside `path`, then renames into place. Raises `UserError` on a full disk."""
    beside = path.with_name(f".{path.name}.tmp")
    with full_disk_is_named(path):
        try:
            write_through(beside, content)
            beside.replace(path)
        except OSError:
            beside.unlink(missing_ok=True)
            raise
    sync_folder(path.parent)


@contextmanager
def written_folder(path: Path) -> Iterator[Path]:
    """A new folder beside `path` to write into, which gets that name when the block ends without an error.

    Raises `UserError` where `path` exists and is not an empty folder, and on a full disk.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"{path} exists and is not an empty folder: give another --out or remove it first.")
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{path.name}.partial-", dir=path.parent))
    try:
        with full_disk_is_named(path):
            yield beside
        beside.chmod(0o755)  # temporary folders are private
        if path.is_dir():
            path.rmdir()
        beside.rename(path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def full_disk_is_named(what: Path, kept: str = "") -> Iterator[None]:
    """Turns "no space left" into a `UserError` that names the file and says what is `kept`."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(f"no space left on the disk to write {what}: {kept}free some and run it again.") from None


@contextmanager
def only_one_process(folder: Path) -> Iterator[None]:
    """Keeps a folder for this process while entered; the system lets go when the process dies.

    Raises `UserError` where another process has it. Systems without `flock` (Windows) go unguarded.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process trains in {folder}: wait for it, or give another --out.") from None
        yield
