"""The files that make up a classifier: what each says, and whether what it says can be.

Whoever made them may have met a full disk or meant harm: every size is checked before memory is taken for it, only
regular files that lie in the directory are opened, and whatever is wrong becomes a `UserError` that names the file.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from model.classifier import Classifier
from model.config import NetworkConfig, UserError
from model.network import RecurrentNetwork
from model.text import TOKENIZER, Vocabulary

FORMAT = 1
CONFIG, WEIGHTS, WORDS, RECORD = "config.json", "model.safetensors", "vocab.txt", "training.json"
CARD = "README.md"
NOTES = ("findings.json", "units.json")  # written later about these very weights; a classifier works without
NEEDED = (CONFIG, WEIGHTS, WORDS, RECORD)
FILES = (*NEEDED, CARD, *NOTES)

_LARGEST_JSON = 16 * 2**20  # bytes; a record takes kilobytes
_LARGEST_HEADER = 2**16  # bytes; seven tensors take less than one kilobyte
_LARGEST_WORDS = 512 * 2**20  # bytes; the words of the largest vocabulary that NetworkConfig admits
_LARGEST_WEIGHTS = 4 * 2**30  # bytes; two billion numbers, where GloVe's largest set of vectors has 660 million
LARGEST = dict.fromkeys(FILES, _LARGEST_JSON) | {WEIGHTS: _LARGEST_WEIGHTS, WORDS: _LARGEST_WORDS}  # bytes
_STORED = {"F16": 2, "F32": 4}  # bytes a number


# ---------------------------------------------------------------------------------------------------- write


def encode(classifier: Classifier) -> dict[str, bytes]:
    """The needed files of a classifier.

    Raises:
        UserError: a weight is not finite, or a word, a label or the record cannot be stored.
    """
    for word in classifier.vocabulary.words:
        if "\n" in word:
            raise UserError(f"The word {word!r} cannot be stored one word a line: take it out of the vocabulary.")
    config = {
        "format": FORMAT,
        "network": asdict(classifier.network.config),
        "labels": list(classifier.labels),
        "tokenizer": TOKENIZER,
    }
    try:
        return {
            CONFIG: _to_json(config),
            WEIGHTS: _to_safetensors(classifier.network),
            WORDS: "".join(f"{word}\n" for word in classifier.vocabulary.words).encode(),
            RECORD: _to_json(classifier.record),
        }
    except UnicodeEncodeError as error:
        what = error.object[max(0, error.start - 20) : error.end]
        raise UserError(f"The classifier holds {what!r}, which is not text that UTF-8 can store: change it.") from error


def _to_json(value: object) -> bytes:
    try:
        text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"The classifier's record cannot be stored as JSON ({error}): change it.") from error
    return text.encode() + b"\n"


def _to_safetensors(network: RecurrentNetwork) -> bytes:
    tensors = {}
    for name, weight in network.state_dict().items():
        whole = weight.detach().to("cpu", torch.float32)
        if not whole.isfinite().all():
            raise UserError(f"Not all weights of {name} are finite: train again with a lower learning rate.")
        half = whole.half()
        # Training ends on numbers that half precision holds; any others keep all their bits.
        tensors[name] = (half if torch.equal(half.float(), whole) else whole).contiguous()
    data = safetensors.torch.save(tensors, {"format": "pt"})
    if len(data) > _LARGEST_WEIGHTS:
        raise UserError(f"The weights take more than {_LARGEST_WEIGHTS:,} bytes: train with a smaller vocabulary.")
    return data


# ---------------------------------------------------------------------------------------------------- read


def decode(
    place: Path, name: Path, device: torch.device
) -> tuple[RecurrentNetwork, Vocabulary, tuple[str, ...], dict[str, Any]]:
    """Reads the needed files of a directory.

    Args:
        place: the directory, resolved.
        name: what to call it in an error.
        device: where the weights go.

    Returns:
        The network in evaluation mode, float32; the vocabulary; the labels; the record.

    Raises:
        UserError: a file is missing, damaged or does not fit the others.
    """
    with opened(place, name, CONFIG) as file:
        config, labels = _parse_config(_read_json(file, name / CONFIG), name / CONFIG)
    with torch.device("meta"):  # shapes without memory
        network = RecurrentNetwork(config)
    shapes = {key: list(weight.shape) for key, weight in network.state_dict().items()}
    with opened(place, name, WEIGHTS) as file:
        weights = _read_weights(file, shapes, name / WEIGHTS)
    with opened(place, name, WORDS) as file:
        vocabulary = _read_words(file, config.vocabulary_size, name / WORDS)
    with opened(place, name, RECORD) as file:
        record = _read_json(file, name / RECORD)
    _check_record(record, len(labels), name / RECORD)
    network.load_state_dict(weights, strict=True, assign=True)
    try:
        network.to(device)
    except RuntimeError as error:  # no memory left there
        reason = str(error).splitlines()[0]
        raise UserError(f"{name} cannot be brought to {device} ({reason}): choose another device.") from error
    return network.eval(), vocabulary, labels, record


def read_note(place: Path, name: Path, file: str, largest: int) -> dict[str, Any] | None:
    """Reads one of `NOTES`: a JSON object, whose content is for the caller to check.

    Args:
        place: the directory, resolved.
        name: what to call it in an error.
        file: the note.
        largest: bytes that it may have.

    Returns:
        What it says; None where there is no such file.

    Raises:
        UserError: it cannot be read, is larger, or is not a JSON object.
    """
    if not os.path.lexists(place / file):
        return None
    with opened(place, name, file) as stream:
        return _read_json(stream, name / file, largest)


@contextmanager
def opened(place: Path, name: Path, file: str) -> Iterator[BinaryIO]:
    """A regular file of a directory, for reading; not one that only points out of it.

    Raises:
        UserError: there is no such file, or it cannot be read.
    """
    path, shown = place / file, name / file
    try:
        real = path.resolve(strict=True)
        if real.parent != place and not _in_hub_cache(place, real):
            raise UserError(f"{shown} points out of its directory: put the file itself there.")
        if not stat.S_ISREG(real.stat().st_mode):
            raise UserError(f"{shown} is not a file: a classifier's directory holds {', '.join(NEEDED)}.")
        with open(real, "rb") as stream:
            yield stream
    except FileNotFoundError:
        what = f"{name} lacks {file}" if place.is_dir() else f"There is no directory {name}"
        raise UserError(f"{what}: a classifier's directory holds {', '.join(NEEDED)}.") from None
    except OSError as error:
        raise UserError(f"{shown} cannot be read ({error.strerror or error}): see to the file.") from error


def _in_hub_cache(place: Path, real: Path) -> bool:
    """Whether a directory is a snapshot in the Hub's cache and a file lies where such a cache keeps the contents."""
    if place.parent.name != "snapshots" or len(place.parents) < 3:
        return False
    return any(real.is_relative_to(above / "blobs") for above in place.parents[1:3])


def _wrong(path: Path, what: str) -> UserError:
    return UserError(f"{path}: {what}; save the classifier again, or fetch it again.")


def _show(value: object) -> str:
    """A value from a file, short enough for a sentence."""
    return repr(value)[:40] if isinstance(value, (str, int, float, type(None))) else f"a {type(value).__name__}"


def _read_json(file: BinaryIO, path: Path, largest: int = _LARGEST_JSON) -> dict[str, Any]:
    return _parse_json(_read_all(file, path, largest), path)


def _read_all(file: BinaryIO, path: Path, largest: int) -> bytes:
    # Asking for as much as a file may have would take that memory for the smallest one.
    size = os.fstat(file.fileno()).st_size
    if size > largest:
        raise _wrong(path, f"larger than {largest:,} bytes")
    return file.read(size)


def _parse_json(data: bytes, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(data.decode(), parse_constant=_number, parse_float=_number)
    except (ValueError, RecursionError) as error:
        raise _wrong(path, f"not JSON ({error})") from error
    if not isinstance(value, dict):
        raise _wrong(path, "not a JSON object")
    return value


def _number(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text[:20]} is no finite number")
    return value


def _parse_config(value: dict[str, Any], path: Path) -> tuple[NetworkConfig, tuple[str, ...]]:
    if type(value.get("format")) is not int or value["format"] != FORMAT:
        raise UserError(
            f"{path}: the format is {_show(value.get('format'))}, and this program reads format {FORMAT}; use the "
            "version of the program that saved it."
        )
    if value.get("tokenizer") != TOKENIZER:
        raise _wrong(path, f"the tokenizer is {_show(value.get('tokenizer'))}, not {TOKENIZER!r}")
    labels, network = value.get("labels"), value.get("network")
    if not isinstance(labels, list) or not all(isinstance(label, str) and _is_text(label) for label in labels):
        raise _wrong(path, "the labels are not a list of names")
    if len(set(labels)) < len(labels):
        raise _wrong(path, "a label stands twice")
    known = [field.name for field in fields(NetworkConfig)]
    if not isinstance(network, dict) or not set(network) <= set(known):
        raise _wrong(path, f"the network is not described by {', '.join(known)}")
    try:
        config = NetworkConfig(**network)
    except (UserError, RecursionError) as error:
        raise _wrong(path, str(error).rstrip(".")[:200]) from error
    if config.vocabulary_size < 2 or config.num_classes < 1:
        raise _wrong(path, "vocabulary_size or num_classes is missing")
    if config.num_classes != len(labels):
        raise _wrong(path, f"num_classes is {config.num_classes}, and there are {len(labels)} labels")
    return config, tuple(labels)


def _is_text(text: str) -> bool:
    """Whether there is something to show, and none of the lone surrogates that JSON can smuggle in."""
    return bool(text.strip()) and not any("\ud800" <= character <= "\udfff" for character in text)


def _read_weights(file: BinaryIO, shapes: dict[str, list[int]], path: Path) -> dict[str, Tensor]:
    """The weights in float32, once their header agrees with `shapes` and the file is as long as that takes."""
    size = os.fstat(file.fileno()).st_size
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > _LARGEST_HEADER:
        raise _wrong(path, "not a safetensors file")
    header = file.read(length)
    entries = _parse_json(header, path)
    entries.pop("__metadata__", None)
    if set(entries) != set(shapes):
        odd = sorted(set(entries) ^ set(shapes))[0]
        raise _wrong(
            path, f"the network that {CONFIG} describes has {', '.join(shapes)}, which differs in {odd[:40]!r}"
        )
    expected = 8 + length
    for name, shape in shapes.items():
        entry = entries[name]
        if not isinstance(entry, dict) or entry.get("dtype") not in list(_STORED) or entry.get("shape") != shape:
            raise _wrong(
                path, f"{name} is not of the shape {shape} that {CONFIG} gives it, in half or single precision"
            )
        expected += math.prod(shape) * _STORED[entry["dtype"]]
    if size != expected:
        raise _wrong(path, f"{size:,} bytes long where its header says {expected:,}")
    if size > _LARGEST_WEIGHTS:
        raise _wrong(path, f"larger than {_LARGEST_WEIGHTS:,} bytes")
    try:
        weights = safetensors.torch.load(start + header + file.read(expected - 8 - length))
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise _wrong(path, f"not a safetensors file ({error})") from error
    weights = {name: weight.to(torch.float32, copy=True) for name, weight in weights.items()}
    for name, weight in weights.items():
        if not weight.isfinite().all():
            raise _wrong(path, f"not all weights of {name} are finite")
    return weights


def _read_words(file: BinaryIO, count: int, path: Path) -> Vocabulary:
    data = _read_all(file, path, _LARGEST_WORDS)
    # "\n" alone ends a line: a word may hold what str.splitlines takes for an end.
    if (lines := data.count(b"\n")) != count or not data.endswith(b"\n"):
        raise _wrong(path, f"{lines:,} whole lines where {CONFIG} has {count:,} words")
    try:
        return Vocabulary(data.decode().split("\n")[:-1])
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _wrong(path, f"line {line} is not UTF-8 text") from error
    except UserError as error:
        raise _wrong(path, str(error).rstrip(".")) from error


def _check_record(record: dict[str, Any], classes: int, path: Path) -> None:
    """Holds what is shown of a record against its shape; a record without a test is fine."""
    if "test" not in record:
        return
    test = record["test"]
    if not isinstance(test, dict) or not _is_share(test.get("accuracy")):
        raise _wrong(path, "the test has no accuracy from 0 to 1")
    interval, confusion = test.get("interval"), test.get("confusion")
    if not isinstance(interval, list) or len(interval) != 2 or not all(map(_is_share, interval)):
        raise _wrong(path, "the test's interval is not two numbers from 0 to 1")
    rows = confusion if isinstance(confusion, list) else []
    if len(rows) != classes or not all(isinstance(row, list) and len(row) == classes for row in rows):
        raise _wrong(path, f"the test's confusion matrix is not {classes} by {classes}")
    counts = [count for row in rows for count in row]
    if not all(type(count) is int and 0 <= count < 2**53 for count in counts) or sum(counts) != test.get("rows"):
        raise _wrong(path, "the test's confusion matrix does not count its rows")


def _is_share(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1
