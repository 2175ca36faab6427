"""Labelled text: download, read, repair, encode, cut into batches.

A corpus is a directory in the format of Zhang, Zhao and LeCun 2015: `train.csv` and `test.csv` (class index from 1,
then one or more text columns) and `classes.txt` (one name a line).
"""

from __future__ import annotations

import csv
import hashlib
import html
import io
import os
import re
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.config import TrainingConfig, UserError
from model.text import MAX_TOKENS, PADDING_INDEX, Vocabulary, tokenize

# The source that torchtext 0.18 used, at one commit, with the git blob id of each file.
AG_NEWS_URL = (
    "https://raw.githubusercontent.com/mhjabreel/CharCnn_Keras/"
    "555590db4219b1243abb1918effd6a7425a2d75f/data/ag_news_csv/"
)
AG_NEWS_BLOBS = {
    "train.csv": "694aa19971315410e000404523796b76349d3c1d",
    "test.csv": "130b40c3329c993468b8ed8a22c331315e478e0a",
}
AG_NEWS_LABELS = ("World", "Sports", "Business", "Sci/Tech")
_LARGEST_DOWNLOAD = 64 * 2**20  # bytes; train.csv has 29.5 million
_TIMEOUT = 30  # seconds without a byte

WINDOW = 64  # batches that are sorted by length together: near-equal lengths in a batch, chance between batches


def cache_directory() -> Path:
    """Where downloads are kept: `$XDG_CACHE_HOME/unrolled`, or `~/.cache/unrolled`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unrolled"


# ---------------------------------------------------------------------------------------------------- download


def git_blob_id(data: bytes) -> str:
    """The id under which git stores `data`."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def download_ag_news(directory: Path | None = None, url: str = AG_NEWS_URL) -> Path:
    """AG_NEWS in the user's cache, fetched if it is not there.

    Returns:
        The corpus's directory.

    Raises:
        UserError: the source cannot be reached or sends something else; nothing of it is left in the cache.
    """
    directory = directory or cache_directory() / "ag_news_csv"
    _create(directory)
    for name, blob in AG_NEWS_BLOBS.items():
        if not (directory / name).is_file():
            _write_whole(directory / name, _fetch(url + name, blob))
    if not (directory / "classes.txt").is_file():
        _write_whole(directory / "classes.txt", "\n".join(AG_NEWS_LABELS).encode() + b"\n")
    return directory


def _create(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"The cache {directory} cannot be written ({error.strerror}): set XDG_CACHE_HOME to a folder that can, "
            "or name a corpus with --data DIR."
        ) from error


def _fetch(url: str, blob: str) -> bytes:
    way_out = "try again, or name a directory that holds the corpus with --data DIR."
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
            data = response.read(_LARGEST_DOWNLOAD + 1)
    except (OSError, HTTPException) as error:
        # What a source says in place of HTTP may hold anything.
        reason = re.sub(r"[^ -~]+", " ", str(getattr(error, "reason", None) or error)).strip()[:200]
        raise UserError(f"AG_NEWS could not be downloaded from {url} ({reason}): {way_out}") from error
    if git_blob_id(data) != blob:
        raise UserError(f"What came from {url} is not AG_NEWS ({len(data):,} bytes of something else): {way_out}")
    return data


def _write_whole(path: Path, data: bytes) -> None:
    """Writes a file that is either whole or not there."""
    try:
        descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            os.unlink(partial)
            raise
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}): make room, or set XDG_CACHE_HOME to another folder."
        ) from error


# ---------------------------------------------------------------------------------------------------- read

_BARE_ENTITY = re.compile(
    r"(?<!&)(?<!&amp;)(#(?:\d{2,5}|x[0-9a-f]{2,4})|\b(?:quot|amp|lt|gt|nbsp|hellip|[lr][sd]quo|[mn]dash|pound|euro));",
    re.IGNORECASE,
)
_CONTRACTION = re.compile(r" (?=#(?:39|146|8217);(?:s|t|d|m|re|ve|ll)\b)", re.IGNORECASE)
_TAG = re.compile(r"</?[a-z][^<>]*>", re.IGNORECASE)


def repair(text: str) -> str:
    r"""Mends the broken markup of AG_NEWS, which nobody types.

    Entities that lost their ampersand (`Apple #39;s`, `quot;`) become characters, tags (`&lt;b&gt;`) go, a backslash
    is a line end except before a dollar sign, where it only escapes.
    """
    if "\\" in text:
        text = text.replace("\\$", "$").replace("\\", " ")
    if ";" in text:
        text = _BARE_ENTITY.sub(r"&\1;", _CONTRACTION.sub("", text))
        # Twice, since some rows were escaped twice ("&amp;lt;").
        text = html.unescape(html.unescape(text))
    return _TAG.sub(" ", text) if "<" in text else text


@dataclass(frozen=True)
class Rows:
    """Texts and the index of each one's class, from 0."""

    texts: list[str]
    classes: list[int]

    def __len__(self) -> int:
        return len(self.texts)

    def select(self, indices: Sequence[int]) -> Rows:
        """These rows alone, in this order."""
        return Rows([self.texts[i] for i in indices], [self.classes[i] for i in indices])

    def digest(self) -> str:
        """SHA-256 over the classes and texts in order: which rows these are, without the rows."""
        digest = hashlib.sha256()
        for index, text in zip(self.classes, self.texts, strict=True):
            digest.update(f"{index}\t{text}\0".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


@dataclass(frozen=True)
class Corpus:
    """The rows to train on, the official test rows, and the names of the classes."""

    labels: tuple[str, ...]
    train: Rows
    test: Rows


def read_corpus(directory: str | os.PathLike[str], *, repaired: bool = True) -> Corpus:
    """Reads a corpus.

    Args:
        directory: holds `train.csv`, `test.csv`, `classes.txt`.
        repaired: whether each text goes through `repair`.

    Raises:
        UserError: a file is missing or wrong; the sentence names file and line.
    """
    directory = Path(directory)
    labels = _read_labels(directory / "classes.txt")
    train = _read_rows(directory / "train.csv", labels, repaired)
    if len(set(train.classes)) < 2:
        raise UserError(
            f"{directory / 'train.csv'}: every row is of the class {labels[train.classes[0]]!r}; "
            "there is nothing to tell apart, so add rows of another class."
        )
    return Corpus(labels, train, _read_rows(directory / "test.csv", labels, repaired))


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): a corpus is a directory with train.csv, test.csv and "
            "classes.txt."
        ) from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1  # of what stands after the byte order mark
        raise UserError(f"{path}:{line}: not UTF-8 text; save the file as UTF-8.") from error


def _read_labels(path: Path) -> tuple[str, ...]:
    labels = tuple(line.strip() for line in _read_text(path).splitlines() if line.strip())
    if len(labels) < 2:
        raise UserError(f"{path}: names {len(labels)} class; a classifier needs two or more, one name a line.")
    if len(set(labels)) < len(labels):
        raise UserError(f"{path}: a class is named twice; give each its own name.")
    return labels


def _read_rows(path: Path, labels: Sequence[str], repaired: bool) -> Rows:
    texts, classes = [], []
    reader = csv.reader(io.StringIO(_read_text(path), newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            raise UserError(f"{path}:{line}: not a row of CSV ({error}).") from error
        if not row:
            raise UserError(f"{path}:{line}: the row is empty; remove the line.")
        index = int(row[0]) if re.fullmatch(r"\s*[0-9]{1,9}\s*", row[0]) else 0
        if not 1 <= index <= len(labels):
            raise UserError(
                f"{path}:{line}: the class index is {row[0][:20]!r}; it must be a number from 1 to {len(labels)}, "
                "the line of the class in classes.txt."
            )
        text = " ".join(row[1:])
        text = repair(text) if repaired else text
        if not text.strip():
            raise UserError(f"{path}:{line}: the row has no text; remove it, or write its text after the class.")
        texts.append(text)
        classes.append(index - 1)
    if not texts:
        raise UserError(f"{path}: holds no rows.")
    return Rows(texts, classes)


# ---------------------------------------------------------------------------------------------------- encode


@dataclass(frozen=True)
class EncodedRows:
    """Rows as one flat tensor, so that a batch is cut without a Python loop over rows.

    Attributes:
        tokens: `(sum of lengths + 1,)` int32, all rows one after the other, then one padding that all batches share.
        offsets: `(N,)` int64, where each row begins.
        lengths: `(N,)` int64.
        classes: `(N,)` int64.
    """

    tokens: Tensor
    offsets: Tensor
    lengths: Tensor
    classes: Tensor

    def __len__(self) -> int:
        return len(self.lengths)

    @classmethod
    def encode(cls, rows: Sequence[Sequence[str]], classes: Sequence[int], vocabulary: Vocabulary) -> EncodedRows:
        """Encodes rows of tokens, each cut to `MAX_TOKENS` as `predict` cuts."""
        encoded = [np.asarray(vocabulary.encode(row[:MAX_TOKENS]), dtype=np.int32) for row in rows]
        lengths = torch.tensor([len(row) for row in encoded], dtype=torch.int64)
        tokens = torch.from_numpy(np.concatenate([*encoded, np.array([PADDING_INDEX], dtype=np.int32)]))
        return cls(tokens, lengths.cumsum(0) - lengths, lengths, torch.tensor(classes, dtype=torch.int64))

    def to(self, device: torch.device) -> EncodedRows:
        """The same rows on `device`."""
        return EncodedRows(*(x.to(device) for x in (self.tokens, self.offsets, self.lengths, self.classes)))

    def batch(self, rows: Tensor, width: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Cuts a padded batch.

        Args:
            rows: `(B,)` indices of rows.
            width: columns; the longest row's length when None.

        Returns:
            tokens `(B, T)` int32, lengths `(B,)` and classes `(B,)`.
        """
        lengths = self.lengths[rows]
        columns = torch.arange(max(1, int(lengths.max()) if width is None else width), device=rows.device)
        inside = columns < lengths.unsqueeze(1)  # (B, T)
        flat = torch.where(inside, self.offsets[rows].unsqueeze(1) + columns, len(self.tokens) - 1)
        return self.tokens.index_select(0, flat.flatten()).view_as(flat), lengths, self.classes[rows]


def batches(rows: EncodedRows, batch_size: int, generator: torch.Generator, window: int = WINDOW) -> Iterator[Tensor]:
    """All rows once, in batches of near-equal length, in random order.

    Rows are shuffled, sorted by length inside windows of so many batches, cut, and the batches shuffled. A window of 1
    leaves to chance which lengths meet in a batch.

    Yields:
        `(B,)` indices of rows.
    """
    order = torch.randperm(len(rows), generator=generator)
    group = torch.arange(len(rows)) // (window * batch_size)
    key = group * (MAX_TOKENS + 1) + rows.lengths.cpu()[order]
    cut = order[key.argsort(stable=True)].to(rows.tokens.device).split(batch_size)
    for index in torch.randperm(len(cut), generator=generator).tolist():
        yield cut[index]


@dataclass(frozen=True)
class Dataset:
    """A corpus ready for training: encoded, and split so that the test rows choose nothing.

    Attributes:
        vocabulary: words of the training rows that are not held out.
        digests: SHA-256 of the train, validation and test rows, in the order in which they are here.
    """

    labels: tuple[str, ...]
    vocabulary: Vocabulary
    train: EncodedRows
    validation: EncodedRows
    test: EncodedRows
    digests: dict[str, str]


def prepare(corpus: Corpus, config: TrainingConfig, *, seed: int = 0, limit: int | None = None) -> Dataset:
    """Splits a corpus by seed and encodes it.

    Args:
        corpus: the rows.
        config: its `validation_share`, `min_frequency` and `max_vocabulary` apply.
        seed: draws the held-out rows.
        limit: how many rows to take of the training rows, drawn by the same seed; None takes all.

    Raises:
        UserError: too few rows for a split.
    """
    order = torch.randperm(len(corpus.train), generator=torch.Generator().manual_seed(seed))[:limit].tolist()
    held_out = max(1, round(len(order) * config.validation_share)) if config.validation_share else 0
    if len(order) - held_out < 2:
        raise UserError(f"{len(order)} training rows are too few: give at least 3, or raise --limit.")
    parts = {
        "train": corpus.train.select(order[held_out:]),
        "validation": corpus.train.select(order[:held_out]),
        "test": corpus.test,
    }
    tokens = {name: [tokenize(text) for text in rows.texts] for name, rows in parts.items()}
    vocabulary = Vocabulary.build(tokens["train"], min_frequency=config.min_frequency, max_words=config.max_vocabulary)
    encoded = {name: EncodedRows.encode(tokens[name], rows.classes, vocabulary) for name, rows in parts.items()}
    return Dataset(corpus.labels, vocabulary, **encoded, digests={name: rows.digest() for name, rows in parts.items()})
