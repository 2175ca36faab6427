"""A corpus of another language, from its files to the page, by the commands that the README gives."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from german import LABELS, write
from gradio_client import Client

from app import Page, arguments, build, load_classifiers
from model import Classifier

ROOT = Path(__file__).parents[1]
NEW = {
    "Wetter": "Am Morgen hält sich dichter Nebel über den Alpen, am Abend kommt Regen.",
    "Sport": "Die Mannschaft verliert das Pokalspiel gegen den Verein im Elfmeterschießen.",
    "Küche": "Der Bäcker würzt den Teig mit Salz, Butter und frischen Kräutern.",
}


def python(*options: str) -> subprocess.CompletedProcess[str]:
    # Batches as small as these are slower on two threads than on one.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *options], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """The README's commands on an own corpus, word by word, in a directory of the test's own."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("### Your own text")[1].split("\n### ")[0]
    lines = [line for line in section.splitlines() if line.startswith("python ")]
    place = str(tmp_path_factory.mktemp("own"))
    moved = [line.replace("checkpoints/", f"{place}/").replace("my_corpus", f"{place}/my_corpus") for line in lines]
    return [shlex.split(line)[1:] for line in moved]


@pytest.fixture(scope="module")
def classifiers(walk: list[list[str]]) -> list[Classifier]:
    make, train, show, *_ = walk
    for command in (make, train):
        done = python(*command)
        assert done.returncode == 0, done.stderr
    return load_classifiers(arguments().parse_args(show[1:]).models)


@pytest.fixture(scope="module")
def client(classifiers: list[Classifier]) -> Iterator[Client]:
    blocks = build(Page(classifiers))
    _, url, _ = blocks.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False)
    yield Client(url, verbose=False)
    blocks.close()


def test_the_walk_makes_trains_and_shows(walk):
    assert [command[0] for command in walk] == ["tests/german.py", "train.py", "app.py", "train.py", "train.py"]


def test_labels_and_words_are_the_corpus_own(classifiers):
    assert [classifier.network.config.cell for classifier in classifiers] == ["rnn", "lstm"]
    for classifier in classifiers:
        assert classifier.labels == LABELS
        assert classifier.record["corpus"] == "my-corpus"
        assert "köchin" in classifier.vocabulary.words
        assert classifier.record["seconds"] < 120


def test_new_sentences_get_their_class(classifiers):
    for classifier in classifiers:
        chosen = classifier.predict(list(NEW.values())).argmax(1)
        assert [LABELS[index] for index in chosen] == list(NEW)
        assert classifier.record["test"]["accuracy"] > 0.95


def test_what_the_page_shows_of_the_test_rows_is_measured_afterwards(walk, classifiers):
    *_, rnn, lstm = walk
    for command in (rnn, lstm):
        done = python(*command)
        assert done.returncode == 0, done.stderr
    page = Page(load_classifiers(arguments().parse_args(walk[2][1:]).models))
    asked = page.experiment("word_order", NEW["Küche"])
    assert [(answer["test_set"] is not None, answer["missing"]) for answer in asked] == [(True, None)] * 2
    drawn = page.payload(NEW["Küche"])
    assert all(model["trajectory"] is not None for model in drawn["models"])


def test_the_page_answers_with_the_corpus_labels(client):
    for label, sentence in NEW.items():
        answers = client.predict(sentence, api_name="/predict")
        assert [(answer["name"], answer["label"]) for answer in answers] == [("RNN", label), ("LSTM", label)]
        assert list(answers[0]["probabilities"]) == list(LABELS)
    traced = client.predict(NEW["Küche"], "Sport", api_name="/trace")
    assert [len(model["trace"]["probabilities"][-1]) for model in traced] == [3, 3]


@pytest.mark.parametrize(
    ("file", "line", "wrong", "told"),
    [
        (
            "train.csv",
            7,
            "Sport,Der Verein gewinnt.",
            r"the class index is 'Sport'; it must be .* from 1 to 3, .*",
        ),
        ("test.csv", 3, "4,Der Verein gewinnt.", r"the class index is '4'; it must be a number from 1 to 3, .*"),
        ("train.csv", 12, "2,", r"the row has no text; .*"),
        ("test.csv", 150, '1,"Der Regen', r"not a row of CSV .*"),
    ],
)
def test_a_mistake_is_named_by_file_and_line(tmp_path, file, line, wrong, told):
    corpus = write(tmp_path / "my_corpus")
    lines = (corpus / file).read_text(encoding="utf-8").splitlines()
    lines[line - 1] = wrong
    (corpus / file).write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = python("train.py", "--data", str(corpus), "--out", str(tmp_path / "out"))
    assert done.returncode == 1
    assert re.fullmatch(rf"{re.escape(str(corpus / file))}:{line}: {told}\n", done.stderr), done.stderr
    assert not (tmp_path / "out").exists()


def test_a_file_in_another_encoding_is_named_by_its_line(tmp_path):
    corpus = write(tmp_path / "my_corpus")
    data = (corpus / "train.csv").read_bytes().splitlines(keepends=True)
    data[4] = "3,Die Köchin würzt.\n".encode("latin-1")
    (corpus / "train.csv").write_bytes(b"".join(data))
    done = python("train.py", "--data", str(corpus), "--out", str(tmp_path / "out"))
    assert (done.returncode, done.stderr) == (
        1,
        f"{corpus / 'train.csv'}:5: not UTF-8 text; save the file as UTF-8.\n",
    )


def test_the_readme_quotes_the_mistake_as_the_program_tells_it(tmp_path):
    corpus = write(tmp_path / "my_corpus")
    lines = (corpus / "train.csv").read_text(encoding="utf-8").splitlines()
    lines[6] = "Sport,Der Verein gewinnt."
    (corpus / "train.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = python("train.py", "--data", str(corpus))
    assert done.stderr.replace(f"{tmp_path}/", "") in (ROOT / "README.md").read_text(encoding="utf-8")
