"""The files of a classifier from the Hub: no others, none larger than announced, and none from a host that is gone."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from model.config import UserError
from model.files import FILES, LARGEST, NEEDED
from model.hub_errors import is_refusal

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ModelInfo, RepoSibling

T = TypeVar("T")
Outcome: TypeAlias = "queue.SimpleQueue[tuple[T | None, BaseException | None]]"  # a value or an error


class Download:
    """What there is to fetch of a classifier at one commit.

    Attributes:
        sizes: bytes of each file, as the Hub announces them.
        timeout: seconds for the host to say what a file is.

    Raises:
        UserError: a file is missing, or larger than a classifier's may be; nothing of it was fetched.
    """

    def __init__(self, api: HfApi, repository: str, info: ModelInfo, timeout: float) -> None:
        self.api, self.repository, self.commit, self.timeout = api, repository, info.sha, timeout
        self._moved: set[str] = set()  # files of which something came since `ask` last looked
        there = {sibling.rfilename: sibling for sibling in info.siblings or ()}
        if missing := [file for file in NEEDED if file not in there]:
            raise UserError(
                f"{info.id} on the Hub lacks {missing[0]}: it is no classifier of this program; check the name."
            )
        self.sizes = {file: size_of(there[file]) for file in FILES if file in there}
        for file, size in self.sizes.items():
            if size > LARGEST[file]:
                raise UserError(
                    f"{info.id}/{file} on the Hub has {size:,} bytes, where a classifier's may have "
                    f"{LARGEST[file]:,}: it is not fetched; name another repository."
                )

    def fetch(self) -> Path:
        """The files, in the cache."""
        # snapshot_download does the same in a pool of threads, for which the interpreter waits when it ends.
        begun = [begin(partial(self._fetch, file)) for file in self.sizes]
        fetched = [end(outcome.get()) for outcome in begun]
        return fetched[0].parent

    def _fetch(self, file: str) -> Path:
        size = self.sizes[file]
        return fetch(self.api, self.repository, file, self.commit, size, self.timeout, lambda: self._moved.add(file))

    def ask(self, seconds: float) -> None:
        """Asks the host for each file of which nothing came since this was last asked.

        The client tries again and again, for half a minute and more, what a host refuses or does not answer. So it is
        asked for the same, once: for what a file is, and for its first byte, which may come from another host.

        Raises:
            Exception: one of them has a fault; a refusal is a sign of life, and the client raises that itself.
        """
        from huggingface_hub import try_to_load_from_cache

        moved, self._moved = self._moved, set()
        left = [
            file
            for file in self.sizes
            if file not in moved
            and not isinstance(try_to_load_from_cache(self.repository, file, revision=self.commit), str)
        ]
        begun = [begin(partial(ask, file, seconds)) for file in left for ask in (self._ask_what, self._ask_first_byte)]
        for outcome in begun:
            try:
                end(outcome.get())
            except Exception as error:
                if not is_refusal(error):
                    raise

    def _ask_what(self, file: str, seconds: float) -> None:
        self.api.get_hf_file_metadata(url=self._url(file), timeout=seconds)

    def _ask_first_byte(self, file: str, seconds: float) -> None:
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

        headers = build_hf_headers(token=self.api.token) | {"Range": "bytes=0-0"}
        with get_session().stream("GET", self._url(file), headers=headers, timeout=seconds) as response:
            hf_raise_for_status(response)
            next(response.iter_raw(), None)

    def _url(self, file: str) -> str:
        from huggingface_hub import hf_hub_url

        return hf_hub_url(self.repository, file, revision=self.commit, endpoint=self.api.endpoint)


def size_of(sibling: RepoSibling) -> int:
    """How large one of a classifier's files is, or may be where the host does not say."""
    return LARGEST[sibling.rfilename] if sibling.size is None else sibling.size


def fetch(
    api: HfApi,
    repository: str,
    file: str,
    commit: str | None,
    size: int,
    timeout: float,
    moved: Callable[[], object] = lambda: None,
) -> Path:
    """A file of one commit, in the cache.

    Args:
        api: the client.
        repository: "owner/name".
        file: which.
        commit: of which commit.
        size: bytes that it may have.
        timeout: seconds for the host to say what it is.
        moved: called whenever some of it has come.

    Raises:
        UserError: the host sends more.
        Exception: whatever the client raises.
    """
    from huggingface_hub.utils import tqdm

    class Watch(tqdm):
        """No bar, but it hears of all that comes before that is written: the client itself counts at the end."""

        came = 0  # bytes, those of each attempt

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            self.came += max(int(n or 0), 0)
            moved()
            if self.came > size:
                raise UserError(
                    f"The Hub sends more of {repository}/{file} than the {size:,} bytes that it announced: it is not "
                    "kept; try again later, or name another repository."
                )
            return super().update(n)

        # Where a file comes in compressed pieces, these are told of the pieces, and `update` of the file.
        def update_transfer(self, n: float | None = 1) -> None:
            moved()

        def set_transfer_postfix_str(self, *_: object, **__: object) -> None:
            pass

    return Path(api.hf_hub_download(repository, file, revision=commit, etag_timeout=timeout, tqdm_class=Watch))


# ---------------------------------------------------------------------------------------------------- waiting


def attended(work: Callable[[], T], patience: float, ask: Callable[[], object] | None = None, answer: float = 0.0) -> T:
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
    outcome = begin(work)
    while True:
        try:
            return end(outcome.get(timeout=patience))
        except queue.Empty:
            if ask is None:
                raise TimeoutError("no answer in time") from None
            attended(ask, answer)


def begin(work: Callable[[], T]) -> Outcome[T]:
    """Starts work in a thread that may be left behind."""
    outcome: Outcome[T] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put((work(), None))
        except BaseException as error:
            outcome.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    return outcome


def end(outcome: tuple[T | None, BaseException | None]) -> T:
    value, error = outcome
    if error is not None:
        raise error
    return value  # type: ignore[return-value]
