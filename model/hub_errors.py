"""What went wrong on the way to the Hub, as one sentence for a person."""

from __future__ import annotations

import errno

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def chain_of(error: BaseException | None) -> list[BaseException]:
    """An error and those behind it."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def status_of(error: BaseException) -> int | None:
    """The HTTP status that is behind an error."""
    from huggingface_hub.errors import HfHubHTTPError

    return next((e.response.status_code for e in chain_of(error) if isinstance(e, HfHubHTTPError)), None)


def is_refusal(error: BaseException) -> bool:
    """Whether the Hub answered that it will not, where asking again or later changes nothing."""
    status = status_of(error)
    return status is not None and 400 <= status < 500 and status not in (408, 429)


def clean(error: BaseException, token: str | None) -> BaseException:
    """The error without the token, should a host have sent it back."""
    for each in chain_of(error):
        if token:
            each.args = tuple(part.replace(token, "***") if isinstance(part, str) else part for part in each.args)
    return error


def reason(
    error: BaseException, repository: str, token: str | None, revision: str | None, writing: bool = False
) -> str:
    """Why, and what to do about it."""
    from huggingface_hub.errors import (
        GatedRepoError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    chain, status = chain_of(error), status_of(error)
    kinds = tuple({type(each) for each in chain})

    def is_a(kind: type) -> bool:
        return any(issubclass(each, kind) for each in kinds)

    access = "a token with write access" if writing else "a token that may read it"
    log_in = f"run `hf auth login`, or set HF_TOKEN to {access}"
    if is_a(GatedRepoError):
        return f"the repository is gated; ask for access on its page, then {log_in}."
    if is_a(RevisionNotFoundError):
        return f"it has no revision {revision or 'main'}; give a branch, a tag or a commit that it has."
    if status == 401 and token:
        return f"the token was refused; {log_in}."
    if status == 403:
        return f"the token does not allow it; {log_in}."
    if is_a(RepositoryNotFoundError) or status in (401, 404):
        return f"there is no such repository, or it is private; check the name, or {log_in}."
    if status in (409, 412):
        return "it was changed meanwhile; try again."
    if status == 429:
        return "the Hub has had too many requests; try again in some minutes."
    if status is not None and status >= 500:
        return f"the Hub has a fault of its own (status {status}); try again later."
    if status is not None:
        words = " ".join((next(filter(None, (getattr(each, "server_message", None) for each in chain)), "")).split())
        words = words.replace(token or "\0", "***")[:200].rstrip(".")
        return f"the Hub refused the request ({status}{words and ': '}{words}); see to that, and try again."
    if is_a(OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set; unset it, or name a directory."
    disk = next((e for e in chain if isinstance(e, OSError) and (e.filename or e.errno in _DISK)), None)
    if disk is not None:
        where = disk.filename or "the cache"
        return f"{where} cannot be used ({disk.strerror}); make room, or set HF_HOME to another folder."
    instead = "" if writing else ", or name a directory"
    if is_a(TimeoutError):
        return f"the Hub does not answer; try again later{instead}."
    return f"the Hub cannot be reached ({type(chain[-1]).__name__}); check the network{instead}."
