"""A classifier by name: from a directory or from the Hub, and to the Hub.

What comes from the Hub is one commit: the commit is resolved first, then read from the cache or fetched. Where the Hub
cannot be reached, the cache serves. huggingface_hub is imported where it is needed, for it takes its time.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from model import card, checkpoint
from model.checkpoint import save
from model.classifier import Classifier, Source, pick_device
from model.config import UserError
from model.corpus import git_blob_id
from model.download import Download, attended, fetch, size_of
from model.files import CARD, CONFIG, FILES, LARGEST, NEEDED, NOTES, WEIGHTS, encode
from model.hub_errors import clean, is_refusal, reason, status_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["load", "push", "save"]

# Seconds. A host that is silent or has another fault costs a load at most these three together; 10 are the promise.
_RESOLVE = 4.0  # to say which commit a revision is
_PATIENCE = 2.5  # of work on the network before the host is asked whether it is still there
_ANSWER = 3.0  # to answer that, and as many more as resolving left over: the answer shares its line with a download
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
            began = time.monotonic()
            info = attended(
                lambda: api.model_info(repository, revision=revision, timeout=_RESOLVE, files_metadata=True), _RESOLVE
            )
            answer = max(_ANSWER, 2 * _ANSWER - (time.monotonic() - began))
            name, download = info.id, Download(api, repository, info, _RESOLVE)
            folder = attended(download.fetch, _PATIENCE, lambda: download.ask(answer), answer)
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
        UserError: it cannot be pushed, and the repository, by now made if need be, holds what it held; or the Hub did
            not confirm the commit, which the error says, and it holds that or all of this. Pushing again is safe.
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
    turn = threading.Lock()  # to commit, or to give up: the first to take it decides, and no commit comes afterwards
    try:
        return attended(
            lambda: _commit(api, classifier, files, repository, private, turn), _PUSH_PATIENCE, ask, _PUSH_ANSWER
        )
    except UserError:
        raise
    except Exception as error:  # the client and its transfer library raise what they like
        status = status_of(error)
        if not turn.acquire(blocking=False) and not is_refusal(error) and status != 429:
            what = f"status {status}" if status else type(error).__name__
            raise UserError(
                f"The Hub did not confirm the commit to {repository} ({what}), and has made it whole or not at all: "
                f"see {api.endpoint}/{repository}/commits/main, or push again, which is safe."
            ) from clean(error, token)
        why = reason(error, repository, token, None, writing=True)
        raise UserError(f"{repository} cannot be pushed to the Hub: {why}") from clean(error, token)


def _commit(
    api: HfApi, classifier: Classifier, files: dict[str, bytes], repository: str, private: bool, turn: threading.Lock
) -> str:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    repository = api.create_repo(repository, private=private, exist_ok=True).repo_id  # as the Hub resolves it
    info = api.model_info(repository, files_metadata=True)
    if private and info.private is False:
        raise UserError(f"{repository} is there already and is public: make it private on its page, or name another.")
    there = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    files = files | {CARD: card.render(classifier, repository).encode()}
    files |= checkpoint.kept(files[WEIGHTS], None, classifier.source.directory)
    if CARD in there:
        size = size_of(there[CARD])
        # No program wrote a card of such a size.
        if size > LARGEST[CARD] or card.edited_by_hand(
            fetch(api, repository, CARD, info.sha, size, _PUSH_PATIENCE).read_bytes()
        ):
            del files[CARD]
    weights = there.get(WEIGHTS)
    digests = {hashlib.sha256(files[WEIGHTS]).hexdigest(), git_blob_id(files[WEIGHTS])}
    same = weights is not None and bool(digests & {weights.blob_id, weights.lfs and weights.lfs.sha256})
    stale = [] if same else [note for note in NOTES if note in there and note not in files]
    additions = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=data) for name, data in files.items()]
    api.preupload_lfs_files(repository, additions, free_memory=False)  # takes long, and changes nothing that shows
    if not turn.acquire(blocking=False):
        raise TimeoutError("nobody waits for this any more")
    commit = api.create_commit(
        repository,
        [*additions, *(CommitOperationDelete(path_in_repo=name) for name in stale)],
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


def _asking(api: HfApi, repository: str, seconds: float) -> Callable[[], None]:
    """Asks the host anything at all: even a refusal is a sign of life."""

    def ask() -> None:
        from huggingface_hub.errors import HfHubHTTPError

        with suppress(HfHubHTTPError):
            api.model_info(repository, timeout=seconds)

    return ask
