"""Whatever is typed and whatever lies in a classifier's directory: a result, or the one documented error."""

from __future__ import annotations

import copy
import json
import os
import resource
import shutil
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from small import LABELS, RANDOM, random_classifier
from tiny import tiny

from lens import trace
from lens.findings import FINDINGS, load_findings, measure
from lens.notes import to_json
from lens.unit_measures import measure_units
from lens.units import UNITS, load_units, project, unit_payload
from model import Classifier, UserError, load, save
from model.files import FILES, NEEDED, NOTES

# The same examples every time: a failure is seen by all, and nobody else's change fails by chance.
PROFILE = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}
few, many = settings(max_examples=60, **PROFILE), settings(max_examples=150, **PROFILE)

# Lone surrogates included: JSON can carry them, UTF-8 cannot.
TEXTS = st.text(st.characters(), max_size=400) | st.lists(
    st.sampled_from(
        ["stocks", "fell", "W7", "<unk>", "<br />", '"', "\u2019", "\0", "\u0130", "\ud800", "e\u0301", "."]
    )
).map(" ".join)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20)
NUMBERS = (2**31, 2**63, 2**70, 10**400, -1, 0, 1, 2, 3, 0.5, 1e308)
NAMES = ("", " ", "\ud800", "../../etc/passwd", "/etc/passwd", "lstm", "gru", "last", "read", "x" * 1000)
ODD = st.sampled_from([*NUMBERS, *NAMES, True, None, [], {}, [[]], "__import__('os').abort()"])
JSON = st.recursive(
    ODD | SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


# ------------------------------------------------------------------------------------------------------ what is watched

# Loading has no use for any of these once everything is imported.
CODE = ("exec", "compile", "import", "marshal.", "pickle.", "os.system", "os.exec", "os.posix_spawn", "os.fork")
CODE += ("subprocess.", "ctypes.", "socket.", "cpython.run_", "code.__new__", "os.remove", "os.rename", "shutil.")


class Watch:
    """Notes what this process does while it loads: an audit hook, for hooks stay as long as the process."""

    def __init__(self) -> None:
        self.directory: Path | None = None
        self.thread = 0
        self.wrong: list[str] = []
        sys.addaudithook(self.note)

    def note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.directory is None or threading.get_ident() != self.thread:
            return
        if event.startswith(CODE):
            self.wrong.append(f"{event} {arguments!r:.200}")
        elif event == "open" and not isinstance(arguments[0], int):
            path, _, flags = arguments
            inside = Path(os.path.realpath(os.fsdecode(path))).is_relative_to(self.directory)
            if not inside or (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self.wrong.append(f"{event} {path!r} {flags}")

    @contextmanager
    def over(self, directory: Path) -> Iterator[None]:
        """Nothing but reading files of a directory goes on in here, in bounded memory."""
        self.wrong, self.thread = [], threading.get_ident()
        limits = resource.getrlimit(resource.RLIMIT_AS)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 256 * 2**20, limits[1]))
        self.directory = directory
        try:
            yield
        finally:
            self.directory = None
            resource.setrlimit(resource.RLIMIT_AS, limits)
        assert self.wrong == []


WATCH = Watch()


# ------------------------------------------------------------------------------------------------------------- any text


def finite(value: Any) -> None:
    """What a browser gets is JSON that every reader takes, Gradio's own encoder included."""
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    orjson.dumps(value)


@many
@given(TEXTS, st.sampled_from(RANDOM))
@example("", "lstm-last")
@example("\ud800", "rnn-mean")
@example("a " * 300, "gru-max")
def test_any_text_has_probabilities_and_a_trace(text: str, name: str) -> None:
    classifier = CLASSIFIERS[name]
    shares = classifier.predict([text, "stocks fell"])
    assert shares.shape == (2, len(LABELS))
    assert torch.allclose(shares.sum(1), torch.ones(2), atol=1e-5)
    found = trace(classifier, text)
    assert torch.allclose(found.logits.softmax(0), shares[0], atol=1e-5)
    assert all(text[token.start : token.end] == token.source for token in found.tokens)
    finite(found.to_payload())


@few
@given(TEXTS, TEXTS)
def test_any_text_is_a_class_or_is_refused(text: str, target: str) -> None:
    with refused_only():
        assert trace(CLASSIFIERS["lstm-last"], text, target).labels[0] == target


CLASSIFIERS = {name: random_classifier(*name.split("-")) for name in RANDOM}


@contextmanager
def refused_only() -> Iterator[None]:
    """Lets the one documented error pass, which is one sentence that can be shown."""
    try:
        yield
    except UserError as error:
        text = str(error)
        assert text.endswith(".")
        assert "\n" not in text
        assert len(text) < 1000


# ------------------------------------------------------------------------------------------------------------- any name


@few
@given(st.text(st.characters(), max_size=60) | st.sampled_from(NAMES))
@example("~nobody/at/all")
@example("a" * 300)
@example("./" + "a" * 5000)
@example("a/" * 3000)
@example("/dev/null")
@example("/proc/self/mem")
@example("\ud800")
def test_any_name_is_no_classifier_in_one_sentence(hub: object, name: str) -> None:
    with pytest.raises(UserError) as caught:
        load(name, device="cpu")
    assert str(caught.value).endswith(".")


# ------------------------------------------------------------------------------------------------------------ any bytes


def noted(directory: Path, cell: str) -> Path:
    """A classifier's directory with every file that one may have."""
    save(tiny(cell), directory)
    classifier = load(directory, device="cpu")
    texts, classes = ["the cup final", "stocks fell", "the the cup", "fell fell stocks"], [0, 1, 0, 1]
    (directory / UNITS).write_bytes(to_json(measure_units(classifier, texts, classes)))
    (directory / FINDINGS).write_bytes(to_json(measure(classifier, texts, classes)))
    assert set(os.listdir(directory)) == set(FILES)
    return directory


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = noted(tmp_path_factory.mktemp("properties") / "it", "lstm")
    use(directory)  # all that is imported once is imported now
    return directory


def use(directory: Path) -> Classifier:
    """Loads a classifier and all that lies beside it, and asks it what a page asks."""
    classifier = load(directory, device="cpu")
    for text in ("", "the cup, zorg"):
        assert classifier.predict([text]).shape == (1, len(classifier.labels))
        found = trace(classifier, text)
        finite(found.to_payload())
        with refused_only():
            units = load_units(classifier)
            finite(units)
            if units is not None:
                finite(unit_payload(classifier, units, 0))
                finite(project(classifier, units, found).to_payload())
        with refused_only():
            finite(load_findings(classifier))
    return classifier


def check(directory: Path, file: str, content: bytes) -> None:
    """Puts other content into a file of a directory, uses it, and puts the right one back."""
    right = (directory / file).read_bytes()
    (directory / file).write_bytes(content)
    try:
        with refused_only(), WATCH.over(directory):
            use(directory)
    finally:
        (directory / file).write_bytes(right)


Change = Callable[[bytes], bytes]


def spliced(place: float, length: int, other: bytes) -> Change:
    """Replaces a piece somewhere."""

    def change(data: bytes) -> bytes:
        start = int(place * len(data))
        return data[:start] + other + data[start + length :]

    return change


CHANGES = (
    st.builds(spliced, st.floats(0, 1), st.integers(0, 9), st.binary(max_size=9))
    | st.builds(spliced, st.floats(0, 1), st.sampled_from([1, 10**9]), st.sampled_from([b"", b"[" * 10**5, b"9" * 400]))
    | st.binary(max_size=200).map(lambda content: lambda data: content)
)


@pytest.mark.parametrize("file", FILES)
@settings(max_examples=80, **PROFILE)
@given(change=CHANGES)
def test_any_bytes_in_a_file_give_a_classifier_or_the_one_error(whole: Path, file: str, change: Change) -> None:
    check(whole, file, change((whole / file).read_bytes()))


@few
@given(st.lists(st.integers(0, 2**16 - 1) | st.sampled_from([0, 0x3C00, 0x7BFF, 0xFBFF]), min_size=1, max_size=50))
def test_any_weights_give_a_classifier_or_the_one_error(whole: Path, numbers: list[int]) -> None:
    data = (whole / "model.safetensors").read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    count = (len(data) - start) // 2  # in half precision; 0x7BFF is its largest number
    check(whole, "model.safetensors", data[:start] + struct.pack(f"<{count}H", *(numbers * count)[:count]))


# ------------------------------------------------------------------------------------------------------------- any JSON


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value of a JSON document."""
    yield path
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from places(item, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    """A document with another value in one place."""
    if not path:
        return other
    value = copy.copy(value)
    value[path[0]] = replaced(value[path[0]], path[1:], other)
    return value


@pytest.mark.parametrize("file", [file for file in FILES if file.endswith(".json")])
@settings(max_examples=120, **PROFILE)
@given(data=st.data(), other=ODD | JSON)
def test_plausible_json_gives_a_classifier_or_the_one_error(whole: Path, file: str, data: Any, other: Any) -> None:
    document = json.loads((whole / file).read_bytes())
    changed = replaced(document, data.draw(st.sampled_from(list(places(document)))), other)
    check(whole, file, json.dumps(changed).encode())


@few
@given(data=st.data(), other=ODD | JSON)
def test_what_was_loaded_with_any_record_can_be_saved_and_is_the_same(whole: Path, data: Any, other: Any) -> None:
    document = json.loads((whole / "training.json").read_bytes())
    changed = replaced(document, data.draw(st.sampled_from(list(places(document)))), other)
    (whole.parent / "other").mkdir(exist_ok=True)
    for file in NEEDED:
        shutil.copy(whole / file, whole.parent / "other" / file)
    (whole.parent / "other" / "training.json").write_text(json.dumps(changed))
    with refused_only():
        classifier = load(whole.parent / "other", device="cpu")
        save(classifier, whole.parent / "again")
        assert load(whole.parent / "again", device="cpu").record == classifier.record


SIZES = st.sampled_from([2, 3, 6, 1000, 4096, 10_000, 10_000_000]) | st.integers(-3, 2**40)


@many
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "cell": st.sampled_from(["rnn", "lstm", "gru", "transformer"]),
            "vocabulary_size": SIZES,
            "embedding_dim": SIZES,
            "hidden_dim": SIZES,
            "num_classes": SIZES,
            "readout": st.sampled_from(["last", "mean", "max", "first"]),
            "padding": st.sampled_from(["ignored", "read"]),
            "packed": st.booleans(),
            "initialization": st.sampled_from(["torch", "orthogonal"]),
            "word_dropout": st.floats(),
        },
    ),
    st.none() | st.integers(0, 10_000),
)
def test_no_configuration_takes_memory_that_the_weights_do_not_fill(
    whole: Path, network: dict[str, Any], labels: int | None
) -> None:
    config = json.loads((whole / "config.json").read_bytes())
    config["network"] |= network
    if labels is not None:
        config["labels"] = [f"class {number}" for number in range(labels)]
    check(whole, "config.json", json.dumps(config).encode())


@pytest.mark.parametrize("file", NEEDED)
def test_a_file_of_nothing_that_says_it_is_huge_is_refused_before_memory_is_taken(file: str, tmp_path: Path) -> None:
    save(tiny(), tmp_path / "it")
    use(tmp_path / "it")
    with open(tmp_path / "it" / file, "r+b") as sparse:
        sparse.truncate(2**40)  # takes no room on the disk
    with pytest.raises(UserError, match=file), WATCH.over((tmp_path / "it").resolve()):
        load(tmp_path / "it", device="cpu")


@pytest.mark.parametrize("file", NOTES)
def test_a_note_of_nothing_that_says_it_is_huge_is_refused_before_memory_is_taken(file: str, whole: Path) -> None:
    right = (whole / file).read_bytes()
    with open(whole / file, "r+b") as sparse:
        sparse.truncate(2**40)
    classifier = load(whole, device="cpu")
    read = load_units if file == UNITS else load_findings
    with pytest.raises(UserError, match=file), WATCH.over(whole):
        read(classifier)
    (whole / file).write_bytes(right)


def test_weights_as_large_as_their_configuration_says_are_refused_where_memory_is_short(tmp_path: Path) -> None:
    save(tiny("rnn"), tmp_path / "it")
    directory = (tmp_path / "it").resolve()
    use(directory)
    config = json.loads((directory / "config.json").read_text())
    config["network"] |= {"vocabulary_size": 10_000_000, "embedding_dim": 4096}
    (directory / "config.json").write_text(json.dumps(config))
    sizes = {
        "embedding.weight": [10_000_000, 4096],
        "recurrence.weight_ih_l0": [2, 4096],
        "recurrence.weight_hh_l0": [2, 2],
        "recurrence.bias_ih_l0": [2],
        "recurrence.bias_hh_l0": [2],
        "linear.weight": [2, 2],
        "linear.bias": [2],
    }
    header, start = {}, 0
    for name, shape in sizes.items():
        end = start + 2 * torch.Size(shape).numel()
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}
        start = end
    text = json.dumps(header).encode()
    with open(directory / "model.safetensors", "wb") as sparse:
        sparse.write(struct.pack("<Q", len(text)) + text)
        sparse.truncate(8 + len(text) + start)  # 82 GB of zeros that take no room on the disk
    with pytest.raises(UserError, match=r"model\.safetensors"), WATCH.over(directory):
        load(directory, device="cpu")


def test_a_classifier_is_used_while_it_is_watched_and_the_watch_sees(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "copy")
    with WATCH.over((tmp_path / "copy").resolve()):
        assert use(tmp_path / "copy").labels == ("Sport", "Money")
    for action in (lambda: exec("1"), lambda: (whole / "vocab.txt").read_bytes(), lambda: torch.empty(2**30)):
        with pytest.raises((AssertionError, RuntimeError)), WATCH.over((tmp_path / "copy").resolve()):
            action()
