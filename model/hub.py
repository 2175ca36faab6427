"""A classifier by name: from a directory or from the Hub, and to the Hub.

What comes from the Hub is one commit: the commit is resolved first, then read from the cache or fetched. Where the Hub
cannot be reached, the cache serves. huggingface_hub is imported where it is needed, for it takes its time.
"""

from __future__ import annotations

import hashlib
import os
import queue
import re
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import torch

from model import card, checkpoint
from model.checkpoint import save
from model.classifier import Classifier, Source, pick_device
from model.config import UserError
from model.corpus import git_blob_id
from model.files import CARD, CONFIG, FILES, NEEDED, NOTES, WEIGHTS, encode
from model.hub_errors import clean, is_refusal, reason

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ModelInfo

__all__ = ["load", "push", "save"]

T = TypeVar("T")
Outcome: TypeAlias = "queue.SimpleQueue[tuple[T | None, BaseException | None]]"  # a value or an error

# Seconds. A host that accepts and stays silent costs a load at most these three together, 10 seconds being the promise.
_RESOLVE = 4.0  # to say which commit a revision is
_PATIENCE = 2.5  # of work on the network before the host is asked whether it is still there
_ANSWER = 3.0  # to answer that
# A push may fill the line that its questions take.
_PUSH_PATIENCE, _PUSH_ANSWER = 10.0, 15.0

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")


def load(name_or_directory: str | os.PathLike[str], revision: str | None = None, device: str = "auto") -> Classifier:
    """Loads a classifier.

    Args:
        name_or_directory: a directory, or "owner/name" on the Hub. What exists as a directory is one, and so is what
            begins with ".", "/" or "~".
        revision: a branch, tag or commit of the Hub repository; its main branch when None.
        device: where to compute; "auto" takes the accelerator where there is one.

    Raises:
        UserError: there is no such classifier, a file of it is damaged, or the Hub refuses it or cannot be reached.
    """
    name, chosen = os.fspath(name_or_directory), pick_device(device)
    if not name or "\0" in name:
        raise UserError(f"{name!r} names no classifier: give a directory, or owner/name on the Hub.")
    written_as_path = isinstance(name_or_directory, os.PathLike) or name[0] in "./~" or os.path.isabs(name)
    if written_as_path or checkpoint.is_here(Path(name)):
        if revision is not None:
            raise UserError(f"{name} is a directory, which has no revision {revision!r}: leave the revision out.")
        return checkpoint.load(name, chosen)
    if not _REPOSITORY.fullmatch(name):
        raise UserError(
            f"There is no directory {name!r}, and a repository on the Hub is named owner/name: check the name."
        )
    if revision is not None and not _REVISION.fullmatch(revision):
        raise UserError(f"{revision!r} is no revision of {name}: give a branch, a tag or a commit.")
    return _load_from_hub(name, revision, chosen)


def _load_from_hub(repository: str, revision: str | None, device: torch.device) -> Classifier:
    from huggingface_hub import HfApi

    name, folder = repository, None
    if revision and _COMMIT.fullmatch(revision):
        folder = _cached(repository, revision)  # a commit never changes
    if folder is None:
        token = _token(repository)
        api = HfApi(token=token or False)
        try:
            info = _attended(lambda: api.model_info(repository, revision=revision, timeout=_RESOLVE), _RESOLVE)
            name = info.id
            folder = _attended(
                lambda: _fetch(api, repository, info), _PATIENCE, _asking(api, repository, _ANSWER), _ANSWER
            )
            _remember(folder, revision)
        except UserError:
            raise
        except Exception as error:
            folder = None if is_refusal(error) else _cached(repository, revision)
            if folder is None:
                what = f"There is no directory {repository} here, and {repository} cannot be loaded from the Hub"
                raise UserError(f"{what}: {reason(error, repository, token, revision)}") from clean(error, token)
    _check_contents(folder, name)
    return checkpoint.load(folder, device, Source("hub", name, folder.name, folder))


def _fetch(api: HfApi, repository: str, info: ModelInfo) -> Path:
    """The files of one commit, in the cache."""
    from huggingface_hub.utils import tqdm

    class Quiet(tqdm):
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **{**options, "disable": True})

    there = {sibling.rfilename for sibling in info.siblings or ()}
    if missing := [file for file in NEEDED if file not in there]:
        raise UserError(
            f"{info.id} on the Hub lacks {missing[0]}: it is no classifier of this program; check the name."
        )

    def download(file: str) -> Path:
        return Path(api.hf_hub_download(repository, file, revision=info.sha, etag_timeout=_RESOLVE, tqdm_class=Quiet))

    # snapshot_download does the same in a pool of threads, for which the interpreter waits when it ends.
    begun = [_begin(partial(download, file)) for file in FILES if file in there]
    fetched = [_end(outcome.get()) for outcome in begun]
    return fetched[0].parent


def _cached(repository: str, revision: str | None) -> Path | None:
    """The snapshot in the cache, if it is whole."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, CONFIG, revision=revision)
    folder = Path(found).parent if isinstance(found, str) else None
    return folder if folder and all((folder / file).is_file() for file in NEEDED) else None


def _remember(folder: Path, revision: str | None) -> None:
    """Notes in the cache which commit a branch or tag is, now that its files are there."""
    note = folder.parents[1] / "refs" / (revision or "main")
    with suppress(OSError):  # a cache that only reads serves all the same
        if revision == folder.name or (note.is_file() and note.read_text() == folder.name):
            return
        note.parent.mkdir(parents=True, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(dir=note.parent)
        with os.fdopen(descriptor, "w") as file:
            file.write(folder.name)
        os.replace(partial, note)


def _check_contents(folder: Path, name: str) -> None:
    """Holds each file of a snapshot against the digest that the Hub announced, under which the cache keeps it."""
    for file in FILES:
        path = folder / file
        try:
            announced = Path(os.readlink(path)).name
            found = _digest(path, len(announced))
        except OSError:  # not there, or a cache without links, which does not know the digest
            continue
        if found is not None and found != announced:
            with suppress(OSError):
                path.resolve().unlink()
                path.unlink()
            raise UserError(
                f"{name}/{file} is not what the Hub announced, and was taken out of the cache: load it again."
            )


def _digest(path: Path, length: int) -> str | None:
    """The digest of a file under which the Hub keeps it, read piece by piece: git's id, or SHA-256 for a large one."""
    begun = {40: hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False), 64: hashlib.sha256()}
    if length not in begun:
        return None
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: begun[length]).hexdigest()


def push(classifier: Classifier, repository: str, private: bool = False) -> str:
    """Puts a classifier on the Hub, in one commit: all files or none.

    A card there that someone edited by hand is left alone. Notes there about other weights are removed.

    Args:
        classifier: what to push.
        repository: "owner/name"; made if need be.
        private: whether a new repository is private.

    Returns:
        The commit's address.

    Raises:
        UserError: it cannot be pushed; the repository is as it was.
    """
    if not _REPOSITORY.fullmatch(repository):
        raise UserError(f"{repository!r} is no name for a repository on the Hub: give owner/name.")
    files = encode(classifier)
    token = _token(repository)
    if token is None:
        raise UserError(
            f"Pushing to {repository} needs a token, and there is none: run `hf auth login`, or set HF_TOKEN to a "
            "token with write access."
        )
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    ask = _asking(api, repository, _PUSH_ANSWER)
    try:
        return _attended(
            lambda: _commit(api, classifier, files, repository, private), _PUSH_PATIENCE, ask, _PUSH_ANSWER
        )
    except UserError:
        raise
    except Exception as error:  # the client and its transfer library raise what they like
        why = reason(error, repository, token, None, writing=True)
        raise UserError(f"{repository} cannot be pushed to the Hub: {why}") from clean(error, token)


def _commit(api: HfApi, classifier: Classifier, files: dict[str, bytes], repository: str, private: bool) -> str:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    repository = api.create_repo(repository, private=private, exist_ok=True).repo_id  # as the Hub resolves it
    info = api.model_info(repository, files_metadata=True)
    if private and info.private is False:
        raise UserError(f"{repository} is there already and is public: make it private on its page, or name another.")
    there = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    files = files | {CARD: card.render(classifier, repository).encode()}
    files |= checkpoint.kept(files[WEIGHTS], None, classifier.source.directory)
    if CARD in there:
        current = Path(api.hf_hub_download(repository, CARD, revision=info.sha)).read_bytes()
        if card.edited_by_hand(current):
            del files[CARD]
    weights = there.get(WEIGHTS)
    digests = {hashlib.sha256(files[WEIGHTS]).hexdigest(), git_blob_id(files[WEIGHTS])}
    same = weights is not None and bool(digests & {weights.blob_id, weights.lfs and weights.lfs.sha256})
    stale = [] if same else [note for note in NOTES if note in there and note not in files]
    commit = api.create_commit(
        repository,
        [
            *(CommitOperationAdd(path_in_repo=name, path_or_fileobj=data) for name, data in files.items()),
            *(CommitOperationDelete(path_in_repo=name) for name in stale),
        ],
        commit_message="Update the classifier" if weights else "Add the classifier",
        parent_commit=info.sha,  # refused if someone, say, edits the card meanwhile
    )
    return str(commit.commit_url)


def _token(repository: str) -> str | None:
    from huggingface_hub import get_token

    token = get_token()
    # What cannot stand in a header comes back in the error about it.
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        raise UserError(f"The token for {repository} holds characters that no token has: set HF_TOKEN anew.")
    return token


def _attended(
    work: Callable[[], T], patience: float, ask: Callable[[], object] | None = None, answer: float = 0.0
) -> T:
    """Does work on the network, and gives up on it when the host is silent.

    The client's own time limits cover neither a look-up of names nor an answer that drips, and its retries add up to
    minutes. So the work runs in a thread that may be left behind.

    Args:
        work: what to do.
        patience: seconds to wait for it.
        ask: asked whenever the patience ends; raises where the host is gone. Without it, the end is the end.
        answer: seconds to wait for its answer.

    Raises:
        TimeoutError: the host is silent.
        Exception: whatever `work` or `ask` raises.
    """
    outcome = _begin(work)
    while True:
        try:
            return _end(outcome.get(timeout=patience))
        except queue.Empty:
            if ask is None:
                raise TimeoutError("no answer in time") from None
            _attended(ask, answer)


def _begin(work: Callable[[], T]) -> Outcome[T]:
    """Starts work in a thread that may be left behind."""
    outcome: Outcome[T] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put((work(), None))
        except BaseException as error:
            outcome.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    return outcome


def _end(outcome: tuple[T | None, BaseException | None]) -> T:
    value, error = outcome
    if error is not None:
        raise error
    return value  # type: ignore[return-value]


def _asking(api: HfApi, repository: str, seconds: float) -> Callable[[], None]:
    """Asks the host anything at all: even a refusal is a sign of life."""

    def ask() -> None:
        from huggingface_hub.errors import HfHubHTTPError

        with suppress(HfHubHTTPError):
            api.model_info(repository, timeout=seconds)

    return ask
