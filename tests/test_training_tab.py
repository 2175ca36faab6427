"""What the Training tab shows of a record, whatever the record says."""

from __future__ import annotations

import json
import re
from typing import Any

import gradio as gr
import pytest
from tiny import tiny

from app import BUNDLED
from benchmarks import notebook
from model import RECIPES, Classifier, load, save
from viewer.training import curve, facts, lacks, training_tab

HOSTILE = "<img src=x onerror=alert(1)> **bold** | ${alert(2)} {{value}} `x` @children"


def shown(*classifiers: Classifier, titles: tuple[str, ...] = ("RNN", "LSTM")) -> tuple[str, list[Any]]:
    """All markup of the tab, and its plots."""
    with gr.Blocks() as blocks:
        training_tab(classifiers, titles[: len(classifiers)])
    json.dumps(blocks.get_config_file(), allow_nan=False).encode()  # what goes to the browser can go
    parts = list(blocks.blocks.values())
    markup = "".join(str(part.value) for part in parts if isinstance(part, gr.HTML))
    return markup, [part for part in parts if isinstance(part, (gr.LinePlot, gr.ScatterPlot))]


def cells(markup: str, name: str) -> list[list[str]]:
    """The cells of each row of that name."""
    rows = re.findall(rf"<th scope='row'>{re.escape(name)}</th>(.*?)</tr>", markup)
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows]


def points(*epochs: object, **changed: object) -> list[dict[str, Any]]:
    whole = {"train_loss": 1.0, "train_accuracy": 0.5, "validation_loss": 0.8, "validation_accuracy": 0.6}
    return [{"epoch": epoch, **whole, **changed} for epoch in epochs]


def test_those_that_ship_are_told_in_full():
    classifiers = [load(name, device="cpu") for name in BUNDLED]
    assert not any(lacks(classifier.record) for classifier in classifiers)
    told = {name: values for name, *values in facts(classifiers)}
    assert "not recorded" not in str(told)
    assert told["Test accuracy"] == ["90.8\u00a0%", "91.9\u00a0%"]
    assert told["Train rows"] == ["83,690", "83,690"]
    assert told["Epoch kept"] == ["9 of 10", "7 of 7"]
    assert told["Seed"] == ["0", "0"]
    assert told["Rows per second"] == ["21,215", "9,258"]
    assert told["Versions"][0].startswith("python 3.11.7, torch 2.13.0")
    markup, plots = shown(*classifiers)
    assert len(plots) == 4
    assert len({tuple(plot.y_lim) for plot in plots}) == 2  # the same axes for both
    assert cells(markup, "Sports")[1] == ["15", "1,872", "8", "5"]


def test_figures_by_class_are_those_of_the_confusion_matrix():
    test = {"accuracy": 0.7, "interval": [0.4, 0.9], "rows": 10, "confusion": [[3, 1], [2, 4]]}
    markup, _ = shown(tiny(test=test))
    assert cells(markup, "Sport") == [["0.600", "0.750", "0.667", "4"], ["3", "1"]]
    assert cells(markup, "Money") == [["0.800", "0.667", "0.727", "6"], ["2", "4"]]
    assert "--share: 0.750'>3<" in markup
    assert "--share: 0.333'>2<" in markup


def test_curves_have_a_row_for_each_figure():
    record = {"curves": [{"epoch": 1, "train_loss": 1.0, "train_accuracy": 0.25}, *points(2)]}
    assert [tuple(row.values()) for row in curve(record)] == [
        (1, "train", "loss", 1.0),
        (1, "train", "accuracy", 0.25),
        (2, "train", "loss", 1.0),
        (2, "train", "accuracy", 0.5),
        (2, "validation", "loss", 0.8),
        (2, "validation", "accuracy", 0.6),
    ]


@pytest.mark.parametrize(
    "curves",
    [
        None,
        7,
        "curves",
        {"epoch": 1},
        [None, 3, "x", []],
        points("1", None, True, 1.5, 10**400, -1, 0),
        points(1, train_loss="<b>", train_accuracy=7, validation_loss=-1.0, validation_accuracy=True),
        points(1, train_loss=10**400, train_accuracy=-0.1, validation_loss=None, validation_accuracy=[1]),
    ],
)
def test_curves_that_cannot_be_are_not_drawn(curves):
    assert curve({"curves": curves}) == []
    markup, plots = shown(tiny(curves=curves))
    assert plots == []
    assert "RNN: its training.json has no curves, so they are not shown." in markup


def test_an_epoch_that_comes_again_is_left_out():
    assert [row["epoch"] for row in curve({"curves": points(1, 2, 2, 1, 5)})] == [1] * 4 + [2] * 4 + [5] * 4


def test_one_epoch_is_a_point_and_many_are_thinned():
    assert [type(plot) for plot in shown(tiny(curves=points(1)))[1]] == [gr.ScatterPlot] * 2
    assert [type(plot) for plot in shown(tiny(curves=points(1, 2)))[1]] == [gr.LinePlot] * 2
    many = curve({"curves": points(*range(1, 10_001))})
    assert len({row["epoch"] for row in many}) == 500


def test_a_classifier_without_notes_is_said_to_lack_them(tmp_path):
    bare = tiny()
    bare.record.clear()
    save(bare, tmp_path / "bare")
    markup, plots = shown(tiny("rnn", curves=points(1, 2)), load(tmp_path / "bare", device="cpu"))
    assert len(plots) == 2
    assert "LSTM: its training.json has no curves and no test figures, so they are not shown." in markup
    assert "RNN: its training.json" not in markup
    assert cells(markup, "Test accuracy")[0][1] == "not recorded"
    assert cells(markup, "Versions") == [["not recorded", "not recorded"]]


def test_a_test_of_no_rows_counts_as_none():
    test = {"accuracy": 0, "interval": [0, 1], "rows": 0, "confusion": [[0, 0], [0, 0]]}
    assert "has no test figures" in shown(tiny(curves=points(1), test=test))[0]


@pytest.mark.parametrize(
    "value",
    [HOSTILE, "\ud800", [HOSTILE], {HOSTILE: HOSTILE}, None, True, 10**400, "x" * 10**6],
    ids=["markup", "surrogate", "list", "dict", "none", "true", "huge", "long"],
)
def test_no_value_of_a_record_becomes_markup(value):
    names = ("recipe", "summary", "corpus", "seed", "best_epoch", "seconds", "rows_per_second", "device", "processes")
    record = dict.fromkeys((*names, "rows", "versions", "training"), value)
    part = dict.fromkeys(("train", "validation", "test", "epochs", "learning_rate", "batch_size"), value)
    for changed in (record, {"rows": part, "versions": {HOSTILE: value}, "training": part}):
        classifier = tiny()
        classifier.record.update(changed)
        markup, _ = shown(classifier)
        assert "<img" not in markup
        assert not set("${}@`") & set(markup)
        assert len(markup) < 100_000


def test_no_label_and_no_title_becomes_markup():
    markup, _ = shown(tiny(labels=(HOSTILE, "| a | b |")), titles=(HOSTILE,))
    assert "<img" not in markup
    assert markup.count("&lt;img src=x onerror=alert(1)&gt; **bold** |") >= 5
    assert not set("${}@`") & set(markup)


def test_of_many_classes_the_worst_and_the_most_confused_are_listed():
    labels = [f"class {n}" for n in range(300)]
    confusion = [[0] * 300 for _ in labels]
    for n in range(300):
        confusion[n][n] = 1000
    confusion[7][9] = 400
    test = {"accuracy": 0.99, "interval": [0.98, 1], "rows": 300_400, "confusion": confusion}
    markup, _ = shown(tiny(labels=labels, test=test))
    assert cells(markup, "class 7") == [["1.000", "0.714", "0.833", "1,400"], ["class 9", "400"]]
    assert markup.count("<tr>") < 100


def test_the_notebook_stands_beside_what_its_command_wrote():
    results = json.loads(notebook.WRITTEN.read_text())
    assert list(results) == list(notebook.NAMES)
    assert [RECIPES[name].notebook_accuracy for name in results] == [0.812, 0.696, 0.818, 0.249]
    markup, _ = shown(tiny())
    for name, runs in results.items():
        (row,) = cells(markup, RECIPES[name].summary.replace("'", "&#x27;"))
        for run in runs:
            assert f"{run['train_accuracy']:.1%}".replace("%", "\u00a0%") in row[1]
            assert f"{run['test_accuracy']:.1%}".replace("%", "\u00a0%") in row[3]
        assert len(row[4]) > 100
    assert "learning rate was 10 and most of its rows were cut" in markup


def test_the_notebook_command_reads_training_records(tmp_path, capsys):
    record = {
        "curves": [{"epoch": 1, "train_accuracy": 0.6, "validation_accuracy": 0.9}],
        "rows": {"train": 60_000},
        "test": {"accuracy": 0.88, "interval": [0.87, 0.89], "rows": 7600},
        "training": {"learning_rate": 0.001, "vectors": "/somewhere/vectors.txt"},
        "seed": 3,
        "seconds": 1.0,
        "device": "cpu",
        "versions": {},
    }
    written = tmp_path / "notebook.json"
    arguments = [str(tmp_path / "one"), str(tmp_path / "two"), "--to", str(written)]
    assert notebook.main(arguments) == 1
    assert "train notebook-rnn into" in capsys.readouterr().err
    for name in notebook.NAMES:
        (tmp_path / "one" / name).mkdir(parents=True)
        (tmp_path / "one" / name / "training.json").write_text(json.dumps(record))
    assert notebook.main(arguments) == 0
    (run,) = json.loads(written.read_text())["notebook-lstm"]
    # Half of 120,000 rows at 0.6, half at 0.9.
    assert (run["train_accuracy"], run["at_notebook_rows"], run["vectors"]) == (0.6, 0.75, "vectors.txt")
    assert "| `notebook-rnn` | 81.2% | 3 | 60.0% | 75.0% | 88.0% (87.0% to 89.0%) |" in capsys.readouterr().out
