"""The figures of a whole test set are those of its rows, and what is stored is read back or refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from corpora import write_corpus
from small import named, random_classifier, words
from stub import probability, stub, values
from tiny import tiny

from lens.attribution import METHODS
from lens.experiments import distance, padding, word_order
from lens.findings import (
    FINDINGS,
    NEUTRAL_COUNTS,
    PADDING_COUNTS,
    figures,
    form,
    load_findings,
    measure,
    pairs,
)
from lens.judging import referee, two_halves
from lens.notes import mismatch, to_json
from lens.unit_measures import measure_units
from lens.units import UNITS, load_units
from model import load, save
from model.checkpoint import annotate
from model.classifier import Classifier, wilson
from model.config import UserError
from model.corpus import read_corpus

ROOT = Path(__file__).parents[1]
TEXTS = [words(count) for count in (12, 3, 9, 1, 22, 5)] + ["w1 w2 w3", "w9 w8 stocks"]
CLASSES = [0, 1, 2, 3, 0, 1, 2, 3]


# -------------------------------------------------------------------------------------------------------------- measure


def test_figures_by_hand() -> None:
    first = torch.tensor([[0.8, 0.2], [0.4, 0.6]])
    variants = torch.tensor([[[0.6, 0.4], [0.3, 0.7]], [[0.1, 0.9], [0.4, 0.6]]])
    found = figures(variants, first, torch.tensor([0, 0]))
    assert found["flips"] == 0.25
    assert found["change"] == pytest.approx((0.2 + 0.5 + 0.3 + 0.0) / 4)
    assert found["probability"] == pytest.approx((0.6 + 0.3 + 0.9 + 0.6) / 4)
    assert found["accuracy"] == 0.25
    assert found["interval"] == list(wilson(0, 2))  # half a row, rounded to even


def test_each_row_is_paired_once_with_one_of_another_answer() -> None:
    assert pairs([0, 0, 1, None, 1, 1, 0]) == [(0, 2), (1, 4), (5, 6)]
    assert pairs([0, 0, None]) == []


@pytest.mark.parametrize("name", ["rnn-last", "lstm-mean", "gru-max"])
def test_figures_of_rows_together_are_those_of_each_asked_by_itself(name: str) -> None:
    classifier = named(name)
    found = measure(classifier, TEXTS, CLASSES, seed=1)
    assert mismatch(found, form(4)) is None
    assert found["rows"] == len(TEXTS)
    mean = lambda numbers: sum(numbers) / len(TEXTS)  # noqa: E731
    far = [distance(classifier, text) for text in TEXTS]
    padded = [padding(classifier, text) for text in TEXTS]
    turned = [word_order(classifier, text) for text in TEXTS]
    for k, n in enumerate(NEUTRAL_COUNTS):
        assert found["distance"]["after"][k]["probability"] == pytest.approx(mean([d.after[n] for d in far]), abs=1e-3)
        assert found["distance"]["before"][k]["flips"] == pytest.approx(
            mean([d.before_answers[n] != d.answer for d in far]), abs=1e-3
        )
    assert found["distance"]["alone"][-1] == pytest.approx(far[0].alone[100], abs=1e-3)
    for k, n in enumerate(PADDING_COUNTS):
        assert found["padding"]["padded"][k]["change"] == pytest.approx(
            mean([abs(p.padded[n] - p.packed) for p in padded]), abs=1e-3
        )
    assert found["word_order"]["reversed"]["probability"] == pytest.approx(mean([t.reversed for t in turned]), abs=1e-3)
    assert sum(found["word_order"]["shuffled_histogram"]) == pytest.approx(1, abs=1e-2)
    assert found["as_typed"]["accuracy"] == pytest.approx(
        mean((classifier.predict(TEXTS).argmax(1) == torch.tensor(CLASSES)).tolist()), abs=1e-3
    )
    judged = [referee(classifier, text, seed=1) for text in TEXTS]
    for method in METHODS:
        scores = [one.twin for result in judged for one in result.methods if one.method == method]
        there = [score for score in scores if score is not None]
        assert found["referee"]["methods"][method]["twin"] == pytest.approx(sum(there) / len(there), abs=1e-3)


def test_the_figures_of_two_halves_by_hand() -> None:
    texts = ["hot", "down down", "up hot", "down"]
    found = measure(stub(), texts, [0, 1, 0, 1])["two_halves"]
    assert (found["rows"], found["pairs"], found["judged_rows"]) == (4, 2, 4)
    assert (found["front"], found["back"], found["neither"]) == (0.0, 1.0, 0.0)  # the last word wins
    assert found["methods"]["ledger"]["cases"] == 4  # two pairs, in one order each, both classes
    pointed = [one for one in two_halves(stub(), "hot", "down").pointing if one.method == "ledger"]
    assert all(one.hit for one in pointed)
    assert found["methods"]["ledger"]["hits"] == 1.0


def test_padding_to_the_longest_of_a_batch_by_hand() -> None:
    texts = ["down", "down the"]
    found = measure(stub(), texts, [1, 1])["padding"]
    one, other = 1 - probability([-1.0, 0.0]), 1 - probability(values(texts[1]))
    assert found["batched"]["probability"] == pytest.approx((one + other) / 2, abs=1e-3)


def test_rows_are_drawn_by_the_seed() -> None:
    classifier = named("rnn-last")
    some = measure(classifier, TEXTS, CLASSES, seed=3, rows=4, judged_rows=2)
    assert some["rows"] == 4
    assert some["referee"]["rows"] == 2
    assert some["two_halves"]["judged_rows"] <= 2
    assert some == measure(classifier, TEXTS, CLASSES, seed=3, rows=4, judged_rows=2)
    assert some != measure(classifier, TEXTS, CLASSES, seed=4, rows=4, judged_rows=2)


def test_rows_of_one_answer_leave_the_halves_open() -> None:
    found = measure(stub(), ["up", "hot", '"'], [0, 0, 0])
    assert mismatch(found, form(2)) is None
    assert found["two_halves"]["pairs"] == 0
    assert found["two_halves"]["front"] is None
    assert found["two_halves"]["methods"]["ledger"]["hits"] is None


# ---------------------------------------------------------------------------------------------------------------- notes


def test_forms_say_what_is_wrong_and_where() -> None:
    wanted = {"a": float, "b": [int, 2], "c": [(str, None)]}
    assert mismatch({"a": 1, "b": [1, 2], "c": ["x", None]}, wanted) is None
    for value, wrong in (
        ([], "it"),
        ({"a": 1}, "a, b, c"),
        ({"a": "1", "b": [1, 2], "c": []}, "a is not a number"),
        ({"a": True, "b": [1, 2], "c": []}, "a is not a number"),
        ({"a": 1, "b": [1], "c": []}, "b is not a list of 2"),
        ({"a": 1, "b": [1, 2.5], "c": []}, "b is not a number"),
        ({"a": 1, "b": [1, 2], "c": [3]}, "c is not text"),
    ):
        assert wrong in (mismatch(value, wanted) or "")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier with both notes."""
    where = tmp_path_factory.mktemp("stored") / "it"
    save(tiny(), where)
    classifier = load(where, device="cpu")
    texts, classes = ["the cup fell", "stocks", "the stocks fell fell"], [0, 1, 1]
    notes = {FINDINGS: measure(classifier, texts, classes), UNITS: measure_units(classifier, texts, classes)}
    annotate(classifier, {name: to_json(note) for name, note in notes.items()})
    return where


@pytest.fixture
def copied(stored: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stored, tmp_path / "it"))


READERS: list[tuple[str, Callable[[Classifier], Any]]] = [(FINDINGS, load_findings), (UNITS, load_units)]


@pytest.mark.parametrize(("name", "read"), READERS)
def test_a_note_is_read_back(stored: Path, name: str, read: Callable[[Classifier], Any]) -> None:
    assert read(load(stored, device="cpu")) == json.loads((stored / name).read_text())


@pytest.mark.parametrize(("name", "read"), READERS)
def test_where_there_is_no_note_there_is_none(copied: Path, name: str, read: Callable[[Classifier], Any]) -> None:
    (copied / name).unlink()
    assert read(load(copied, device="cpu")) is None
    assert read(tiny()) is None


@pytest.mark.parametrize(("name", "read"), READERS)
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"[]",
        lambda data: b"{}",
        lambda data: b"\xff" + data,
        lambda data: data.replace(b'"format":1', b'"format":2'),
        lambda data: data.replace(b'"format":1', b'"format":true'),
        lambda data: data.replace(b'"rows":3', b'"rows":"3"', 1),
        lambda data: data.replace(b'"rows":3', b'"rows":NaN', 1),
        lambda data: data[:-2] + b',"more":1}',
        lambda data: data + b" " * 2**21,
    ],
)
def test_a_damaged_note_is_refused_by_its_name(
    copied: Path, name: str, read: Callable[[Classifier], Any], damage: Callable[[bytes], bytes]
) -> None:
    (copied / name).write_bytes(damage((copied / name).read_bytes()))
    with pytest.raises(UserError, match=name):
        read(load(copied, device="cpu"))


def test_indices_that_point_nowhere_are_refused(copied: Path) -> None:
    whole = json.loads((copied / UNITS).read_text())
    for change in (
        lambda unit: unit.update({"class": 2}),
        lambda unit: unit.update({"class": -1}),
        lambda unit: unit["windows"][0].update(peak=8),
        lambda unit: unit["windows"][0].update(tokens=["a"] * 9),
        lambda unit: unit["windows"][0].update({"class": 7}),
    ):
        changed = json.loads(json.dumps(whole))
        change(changed["units"][1])
        (copied / UNITS).write_bytes(to_json(changed))
        with pytest.raises(UserError, match=UNITS):
            load_units(load(copied, device="cpu"))


def test_a_note_about_another_classifier_is_refused(stored: Path, tmp_path: Path) -> None:
    save(random_classifier("lstm"), tmp_path / "other")
    for name, read in READERS:
        shutil.copy(stored / name, tmp_path / "other" / name)
        with pytest.raises(UserError, match="measure again"):
            read(load(tmp_path / "other", device="cpu"))


# ------------------------------------------------------------------------------------------------------------- annotate


def test_notes_are_stored_beside_files_that_stay(copied: Path) -> None:
    before = {path.name: path.read_bytes() for path in copied.iterdir()}
    annotate(load(copied, device="cpu"), {UNITS: b"{}"})
    after = {path.name: path.read_bytes() for path in copied.iterdir()}
    assert after == before | {UNITS: b"{}"}
    assert os.listdir(copied.parent) == ["it"]


def test_notes_about_weights_that_changed_meanwhile_are_refused(copied: Path) -> None:
    classifier = load(copied, device="cpu")
    save(tiny(seed=1), copied)
    with pytest.raises(UserError, match="changed"):
        annotate(classifier, {UNITS: b"{}"})
    assert not (copied / UNITS).exists()


def test_a_write_that_fails_leaves_the_old_notes(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in copied.iterdir()}
    classifier = load(copied, device="cpu")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left"):
        annotate(classifier, {UNITS: b"{}"})
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == before
    assert os.listdir(copied.parent) == ["it"]


# ---------------------------------------------------------------------------------------------------------- the command


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    return subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *map(str, arguments)],
        cwd=ROOT,
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=180,
    )


def test_the_command_measures_without_training(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", train=20, test=12)
    classifier = random_classifier("gru")
    classifier.record["digests"] = {"test": read_corpus(corpus).test.digest()}
    where = tmp_path / "it"
    save(classifier, where)
    weights = (where / "model.safetensors").read_bytes()

    done = command("--measure", where, "--data", corpus, "--seed", 2)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[1] for line in lines[-2:]] == ["12", "12"]
    assert [Path(line[0]).name for line in lines[-2:]] == [FINDINGS, UNITS]
    assert (where / "model.safetensors").read_bytes() == weights
    loaded = load(where, device="cpu")
    findings, units = load_findings(loaded), load_units(loaded)
    assert findings is not None
    assert units is not None
    assert findings["seed"] == 2
    assert findings["rows"] == units["rows"] == 12

    other = write_corpus(tmp_path / "other", train=20, test=8)
    refused = command("--measure", where, "--data", other)
    assert refused.returncode == 1
    assert "--data" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert load_findings(load(where, device="cpu")) == findings
