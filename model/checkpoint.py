"""A classifier as a directory, which holds the old one or the new one, whole, whenever a save is interrupted.

A directory `x` is exchanged through names beside it:

    .x.partial  being written, or being deleted; worthless at any time
    .x.new      whole and on the disk, about to become x
    .x.old      what x was

in the order: write partial, partial -> new, x -> old, new -> x, old -> partial, delete partial. So where x is missing,
`.x.new` is the classifier, or else `.x.old`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import torch

from model import card
from model.classifier import Classifier, Source
from model.config import UserError
from model.files import CARD, FILES, NOTES, WEIGHTS, decode, encode

BUNDLED = Path(__file__).resolve().parent / "pretrained"
_TRIES = 10  # reads of a directory that is exchanged meanwhile


def save(classifier: Classifier, directory: str | os.PathLike[str]) -> None:
    """Stores a classifier: whenever this is interrupted, the directory holds the old one or the new one, whole.

    Notes (`model.files.NOTES`) that lie there, or where the classifier was loaded from, are kept if they are about the
    same weights. A card that someone edited by hand is kept.

    Args:
        classifier: what to store.
        directory: where; made if need be.

    Raises:
        UserError: it cannot be written there; what stood there is untouched.
    """
    files = encode(classifier)
    files[CARD] = card.render(classifier, str(directory)).encode()
    with _writing(directory) as target:
        files |= kept(files[WEIGHTS], target, classifier.source.directory)
        _exchange(files, target)


@contextmanager
def _writing(directory: str | os.PathLike[str]) -> Iterator[Path]:
    """A place where a classifier may be exchanged, whole and by nobody else meanwhile.

    Raises:
        UserError: it cannot be written there; what stood there is untouched.
    """
    try:
        target = Path(directory).expanduser().resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone_in(target.parent):
            _recover(target)
            require_replaceable(target)
            yield target
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: links in a circle; ValueError: no such name
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"{directory} cannot be written ({reason}): make room or name another directory; what stood there is "
            "untouched."
        ) from error


def annotate(classifier: Classifier, notes: dict[str, bytes]) -> None:
    """Puts notes beside the weights they are about: whenever this is interrupted, all of the old ones or the new.

    Args:
        classifier: loaded from a directory.
        notes: contents of `model.files.NOTES`.

    Raises:
        UserError: it cannot be written there, or other weights lie there by now; what stood there is untouched.
    """
    source = classifier.source
    if source.directory is None:
        raise ValueError("this classifier has no directory")
    with _writing(source.directory) as target:
        require_unchanged(classifier, target)
        files = {name: (target / name).read_bytes() for name in FILES if (target / name).exists()}
        _exchange(files | notes, target)


def require_unchanged(classifier: Classifier, directory: Path) -> None:
    """Makes sure that a directory still holds the weights that were loaded from it.

    Raises:
        UserError: it holds others, or none.
    """
    stored = decode(directory, Path(classifier.source.name), torch.device("cpu"))[0].state_dict()
    weights = classifier.network.state_dict()
    if stored.keys() != weights.keys() or any(not torch.equal(stored[name], weights[name].cpu()) for name in weights):
        raise UserError(f"The weights in {classifier.source.name} changed meanwhile: load them again.")


def require_replaceable(directory: str | os.PathLike[str]) -> None:
    """Makes sure that saving at a place would delete nothing but a classifier.

    Raises:
        UserError: something else is there.
    """
    try:
        others = sorted(set(os.listdir(directory)) - set(FILES))
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise UserError(f"{directory} is a file: name a directory for the classifier.") from None
    if others:
        raise UserError(f"{directory} also holds {others[0]!r}, which saving would delete: name another directory.")


def kept(weights: bytes, *directories: Path | None) -> dict[str, bytes]:
    """What stays of earlier directories: notes about the same weights, and a card that someone edited by hand.

    Args:
        weights: the content of `model.safetensors` that is about to be stored.
        directories: where to look, in order of precedence; the first one's card is kept whatever its weights.
    """
    found: dict[str, bytes] = {}
    for index, directory in enumerate(directories):
        if directory is None:
            continue
        same = _content(directory / WEIGHTS) == weights
        for name in (*NOTES, CARD):
            data = _content(directory / name) if same or (name == CARD and index == 0) else None
            if data is not None and (name != CARD or card.edited_by_hand(data)):
                found.setdefault(name, data)
    return found


def _content(path: Path) -> bytes | None:
    with suppress(OSError):
        return path.read_bytes()
    return None


def _beside(target: Path) -> tuple[Path, Path, Path]:
    """The names for partial, new and old."""
    partial, new, old = (target.parent / f".{target.name}.{role}" for role in ("partial", "new", "old"))
    return partial, new, old


def _exchange(files: dict[str, bytes], target: Path) -> None:
    partial, new, old = _beside(target)
    try:
        partial.mkdir()
        for name, data in files.items():
            with open(partial / name, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        _sync(partial)
        os.rename(partial, new)
        _sync(target.parent)
        if target.exists():
            os.rename(target, old)
        os.rename(new, target)
        _sync(target.parent)
    finally:
        _recover(target)


def _recover(target: Path) -> None:
    """Finishes an exchange that was cut short, or takes it back, and clears away what is left of it."""
    partial, new, old = _beside(target)
    if not target.exists():
        for whole in (new, old):
            if whole.exists():
                os.rename(whole, target)
                break
    shutil.rmtree(partial, ignore_errors=True)
    for left in (new, old):
        if left.exists():
            # By way of the worthless name, so that half a directory is never taken for a whole one.
            os.rename(left, partial)
            shutil.rmtree(partial, ignore_errors=True)


def _sync(directory: Path) -> None:
    """Brings a directory's names to the disk, where the system can."""
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """One at a time, where directories can be locked; the lock ends with the process."""
    descriptor = None
    with suppress(ImportError, OSError):  # Windows has no fcntl, some network file systems have no locks
        import fcntl

        descriptor = os.open(directory, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def is_here(directory: Path) -> bool:
    """Whether there is such a directory, be it in the middle of an exchange."""
    with suppress(OSError, ValueError, RuntimeError):  # no file can have such a name, or links go in a circle
        _, new, old = _beside(directory.resolve())
        return any(path.is_dir() for path in (directory, new, old))
    return False


def load(directory: str | os.PathLike[str], device: torch.device, source: Source | None = None) -> Classifier:
    """Reads a classifier.

    Args:
        directory: holds `model.files.FILES`.
        device: where its weights go.
        source: what the classifier says of its origin; by default, this directory.

    Raises:
        UserError: a file is missing, damaged or does not fit the others.
    """
    try:
        place = Path(directory).expanduser().resolve()
        shown = Path(source.name if source else directory)
        _, new, old = _beside(place)
        if not place.is_dir() and is_here(place):
            with suppress(OSError), _alone_in(place.parent):  # where nothing may be written, it is read as it lies
                _recover(place)
        for turn in range(_TRIES):
            with _alone_in(place.parent) if turn else nullcontext():
                now = next((path for path in (place, new, old) if path.is_dir()), place)
                before = _identity(now)
                try:
                    parts = decode(now, shown, device)
                except UserError:
                    if _identity(now) == before:
                        raise
                    continue
                if _identity(now) == before:
                    break
                # Exchanged meanwhile: what was read may be of two classifiers.
        else:
            raise UserError(f"{directory} changes all the time: try again when that is over.")
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: links in a circle; ValueError: no such name
        raise UserError(f"{directory} cannot be read ({getattr(error, 'strerror', None) or error}).") from error
    except MemoryError as error:
        raise UserError(f"{directory} takes more memory than there is: name a smaller classifier.") from error
    if source is None:
        kind = "bundled" if place.is_relative_to(BUNDLED) else "directory"
        source = Source(kind, str(directory), directory=place)
    return Classifier(*parts, source)


def _identity(directory: Path) -> tuple[int, int, int] | None:
    with suppress(OSError):
        status = directory.stat()
        return status.st_dev, status.st_ino, status.st_ctime_ns
    return None
