"""The Training tab: how each classifier learned, how well it does on its test rows, and the notebook's results beside.

Labels and records come from the Hub: every text among them is escaped by `_text`, and every number is held against
what it can be. What a record lacks is named; the rest is shown.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import gradio as gr
import pandas as pd

from model import RECIPES, Classifier
from model.card import class_metrics

CURVES = ("train", "validation")
NOTEBOOK = Path(__file__).parents[1] / "benchmarks" / "notebook.json"  # python -m benchmarks.notebook writes it

# The networks' two hues, between the shades that the viewer takes on light and on dark; grey for the training rows.
_HUES = ("#cf6a24", "#2f86c9")
_GREY = "#8a8f99"
_STYLE = Path(__file__).with_name("training.css").read_text(encoding="utf-8")
_MOST_POINTS = 500  # epochs drawn; of more, every n-th
_MOST_NAMED = 20  # epochs that are named one by one on the axis
_MOST_CLASSES = 20  # rows and columns of a confusion matrix, and of the figures by class
_MOST_CHARACTERS = 200  # of a text from a record

_WHY = {
    "notebook-rnn": "Padding is read as words there and here; the mean over all outputs thins the words out and keeps "
    "them. The notebook’s longer epoch explains most of the difference.",
    "notebook-lstm": "Padding is read as words there and here: the verdict is read after it, so the cell must carry "
    "what it read through words that say nothing. It stays at chance for a tenth to a third of the epoch; for how "
    "long is luck, as the runs show. The longer epoch explains a part of the difference only.",
    "notebook-lstm-packed": "The same LSTM without the padding: what it gains over the row above is what the flaw "
    "costs. The longer epoch explains about half of the difference.",
    "notebook-rnn-glove": "The notebook’s learning rate was 10 and most of its rows were cut, which left it at chance "
    "(25 %). Ours has whole rows and a learning rate of {learning_rate:g}, and learns. Its vectors are {vectors}; "
    "words that are not among them start from random ones.",
}


def training_tab(classifiers: Sequence[Classifier], titles: Sequence[str]) -> None:
    """Fills the tab; to be called inside it.

    Args:
        classifiers: one or two, left and right.
        titles: a name for each.
    """
    records = [classifier.record for classifier in classifiers]
    curves = [curve(record) for record in records]
    # The same axes for both, so that they can be compared by eye.
    values = [row["value"] for points in curves for row in points if row["measure"] == "loss"]
    limits: dict[str, list[float | None]] = {"loss": [0.0, 1.05 * max(values, default=1.0)], "accuracy": [0.0, 1.0]}

    _markup(
        "<p class='note'>From the record that training left with each classifier. The test rows were read once, after "
        "the last epoch; where rows were held out for validation, they chose the epoch.</p>"
        + "".join(f"<p class='lacks'>{_text(title)}: {_text(lacks(r))}</p>" for title, r in _lacking(titles, records))
    )
    _markup(_table(("", *titles), facts(classifiers), "How they were trained, and what came of it"))
    _markup(
        "<h3>Curves</h3><p class='note'>Loss (mean cross-entropy in nats) and accuracy, epoch by epoch. A training "
        "figure is the mean over an epoch while the weights still changed, taken with dropout and smoothed labels "
        "where the recipe has them: it may look worse than validation, and the distance between the two does not "
        "measure overfitting. Both networks have the same axes.</p>"
    )
    with gr.Row():
        for title, points, hue in zip(titles, curves, _HUES, strict=False):
            with gr.Column(min_width=300):
                _markup(f"<h4>{_text(title)}</h4>" + ("" if points else "<p class='note'>No curves recorded.</p>"))
                for measure, label in (("loss", "Loss, nats"), ("accuracy", "Accuracy, share of rows")):
                    if points:
                        _plot([row for row in points if row["measure"] == measure], label, limits[measure], hue)
    _markup(
        "<h3>Classes</h3><p class='note'>Over the test rows. Precision: of the rows given this class, the share that "
        "belongs to it. Recall: of the rows that belong to it, the share given it. F1: their harmonic mean. Confusion: "
        "true classes down, predicted ones across, in rows; the tint is the share of the true class, from 0 to 100 %. "
        "How often two classes are confused says nothing about why.</p>"
    )
    with gr.Row():
        for title, classifier in zip(titles, classifiers, strict=True):
            with gr.Column(min_width=300):
                _markup(f"<h4>{_text(title)}</h4>{_by_class(classifier)}")
    _markup(_notebook())


# ------------------------------------------------------------------------------------------------ what a record says


def curve(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The points of a record's curves that can be drawn.

    Returns:
        Rows of `epoch` (from 1), `curve` ("train" or "validation"), `measure` ("loss" or "accuracy") and `value`.
    """
    recorded = record.get("curves")
    points = [point for point in recorded if isinstance(point, dict)] if isinstance(recorded, list) else []
    rows: list[dict[str, Any]] = []
    last = 0
    for point in points[:: max(1, -(-len(points) // _MOST_POINTS))]:
        epoch = point.get("epoch")
        if not isinstance(epoch, int) or isinstance(epoch, bool) or not last < epoch < 1e6:
            continue
        last = epoch
        for name in CURVES:
            for measure, most in (("loss", 1e6), ("accuracy", 1.0)):
                value = point.get(f"{name}_{measure}")
                if _is_number(value) and 0 <= value <= most:
                    rows.append({"epoch": epoch, "curve": name, "measure": measure, "value": float(value)})
    return rows


def lacks(record: dict[str, Any]) -> str:
    """One sentence on what a record does not tell, empty where nothing is missing."""
    missing = [] if curve(record) else ["curves"]
    missing += [] if _tested(record) else ["test figures"]
    return f"its training.json has no {' and no '.join(missing)}, so they are not shown." if missing else ""


def facts(classifiers: Sequence[Classifier]) -> list[tuple[str, ...]]:
    """What was trained, on what, how long and where: a row of the table for each, a cell for each classifier."""
    columns = [_facts(classifier) for classifier in classifiers]
    return [(name, *(column[name] for column in columns)) for name in columns[0]]


def _facts(classifier: Classifier) -> dict[str, str]:
    record = classifier.record
    rows, versions, training = (_part(record, name) for name in ("rows", "versions", "training"))
    test = record["test"] if _tested(record) else None
    epochs, best = training.get("epochs"), record.get("best_epoch")
    return {
        "Test accuracy": _percent(test["accuracy"]) if test else _show(None),
        "its 95 % interval": _between(test["interval"]) if test else _show(None),
        "Recipe": _show(record.get("recipe")),
        "What it is": _show(record.get("summary")),
        "Corpus": _show(record.get("corpus")),
        **{f"{name.capitalize()} rows": _show(rows.get(name)) for name in ("train", "validation", "test")},
        "Words known": _show(len(classifier.vocabulary)),
        "Parameters": _show(classifier.parameters),
        "Epoch kept": f"{_show(best)} of {_show(epochs)}" if _is_number(best) and _is_number(epochs) else _show(best),
        "Learning rate": _show(training.get("learning_rate")),
        "Rows a step": _show(training.get("batch_size")),
        "Seed": _show(record.get("seed")),
        "Seconds": _show(record.get("seconds")),
        "Rows per second": _show(record.get("rows_per_second")),
        "Device": _show(record.get("device")),
        "Processes": _show(record.get("processes")),
        "Versions": _show(", ".join(f"{name} {_show(number)}" for name, number in versions.items())),
    }


def _lacking(titles: Sequence[str], records: Sequence[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    return [(title, record) for title, record in zip(titles, records, strict=True) if lacks(record)]


def _part(record: dict[str, Any], name: str) -> dict[str, Any]:
    value = record.get(name)
    return value if isinstance(value, dict) else {}


def _tested(record: dict[str, Any]) -> bool:
    """Whether there are test figures; their shape was checked when the classifier was loaded."""
    return bool(_part(record, "test").get("rows"))


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -1e15 < value < 1e15


def _percent(share: float) -> str:
    return f"{share:.1%}".replace("%", "\u00a0%")


def _between(interval: Sequence[float]) -> str:
    return " to ".join(map(_percent, interval))


def _show(value: object) -> str:
    if _is_number(value):
        return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"
    return value[:_MOST_CHARACTERS] if isinstance(value, str) and value.strip() else "not recorded"


# ----------------------------------------------------------------------------------------------------------- drawing


def _text(value: object) -> str:
    """A text as markup that shows it: no tag, no template, no lone surrogate that JSON cannot carry."""
    shown = html.escape(str(value).encode(errors="replace").decode())
    return shown.translate({ord(sign): f"&#{ord(sign)};" for sign in "${}@`\\"})


def _markup(markup: str) -> gr.HTML:
    return gr.HTML(
        f"<div class='training'>{markup}</div>", css_template=_STYLE, js_on_load=None, apply_default_css=False
    )


def _table(
    head: Iterable[object],
    rows: Iterable[Iterable[object]],
    caption: str,
    tints: Sequence[Sequence[float]] | None = None,
) -> str:
    """A table whose first column names its rows.

    Args:
        head: a title for each column.
        rows: the cells, which may be any text.
        caption: what it shows.
        tints: for each row a share from 0 to 1 for each cell after the first.
    """
    lines = ["<tr>" + "".join(f"<th scope='col'>{_text(cell)}</th>" for cell in head) + "</tr>"]
    for number, (name, *cells) in enumerate(rows):
        styles = [f" style='--share: {share:.3f}'" for share in tints[number]] if tints else [""] * len(cells)
        line = "".join(
            f"<td{style}{' class=long' if len(str(cell)) > 100 else ''}>{_text(cell)}</td>"
            for cell, style in zip(cells, styles, strict=True)
        )
        lines.append(f"<tr><th scope='row'>{_text(name)}</th>{line}</tr>")
    # Wide tables scroll by themselves; with the focus on them, by the arrow keys too.
    return (
        f"<div class='wide' tabindex='0' role='group' aria-label='{_text(caption)}'>"
        f"<table><caption>{_text(caption)}</caption>{''.join(lines)}</table></div>"
    )


def _plot(rows: list[dict[str, Any]], label: str, limits: list[float | None], hue: str) -> None:
    """A curve for the training rows and one for the held-out ones; points where there is one epoch alone."""
    epochs = sorted({row["epoch"] for row in rows})
    if not epochs:
        return
    frame = pd.DataFrame(rows, columns=["epoch", "curve", "value"])
    names = None
    if len(epochs) <= _MOST_NAMED:  # a scale of numbers would put ticks between the epochs
        names = [str(epoch) for epoch in epochs]
        frame["epoch"] = frame["epoch"].astype(str)
    (gr.LinePlot if len(epochs) > 1 else gr.ScatterPlot)(
        frame,
        x="epoch",
        y="value",
        color="curve",
        x_title="Epoch",
        y_title=label,
        color_title="Rows",
        color_map=dict(zip(CURVES, (_GREY, hue), strict=True)),
        sort=names,
        y_lim=limits,
        height=260,
    )


def _by_class(classifier: Classifier) -> str:
    """Figures for each class and the confusion matrix; of many classes, the worst and the most confused."""
    if not _tested(classifier.record):
        return "<p class='note'>No test figures recorded.</p>"
    confusion, labels = classifier.record["test"]["confusion"], classifier.labels
    figures = sorted(zip(labels, class_metrics(confusion), strict=True), key=lambda pair: pair[1][2])
    many = len(labels) > _MOST_CLASSES
    order = figures[:_MOST_CLASSES] if many else [(label, dict(figures)[label]) for label in labels]
    per_class = _table(
        ("Class", "Precision", "Recall", "F1", "Rows"),
        ((label, f"{p:.3f}", f"{r:.3f}", f"{f1:.3f}", f"{rows:,}") for label, (p, r, f1, rows) in order),
        f"The {_MOST_CLASSES} classes of {len(labels):,} with the lowest F1" if many else "By class",
    )
    if many:
        pairs = sorted(
            ((n, i, j) for i, row in enumerate(confusion) for j, n in enumerate(row) if n and i != j), reverse=True
        )
        return per_class + _table(
            ("True class", "Predicted", "Rows"),
            ((labels[i], labels[j], f"{n:,}") for n, i, j in pairs[:_MOST_CLASSES]),
            "The most frequent confusions",
        )
    return per_class + _table(
        ("True \\ predicted", *labels),
        ((label, *(f"{n:,}" for n in row)) for label, row in zip(labels, confusion, strict=True)),
        "Confusion",
        [[n / max(1, sum(row)) for n in row] for row in confusion],
    )


def _notebook() -> str:
    """The notebook's four results beside ours, run by run."""
    results = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    first = next(iter(results.values()))[0]
    rows = []
    for name, runs in results.items():
        tested = (f"{_percent(run['test_accuracy'])} ({_between(run['test_interval'])})" for run in runs)
        rows.append(
            (
                RECIPES[name].summary,
                _percent(RECIPES[name].notebook_accuracy or 0.0),
                ", ".join(_percent(run["train_accuracy"]) for run in runs),
                ", ".join(_percent(run["at_notebook_rows"]) for run in runs),
                ", ".join(tested),
                _WHY[name].format(**runs[0]),
            )
        )
    head = (
        "System",
        "Notebook, training",
        "Ours, training",
        "Ours, at 120,000 rows (estimate)",
        "Ours, test",
        "Why they differ",
    )
    return (
        "<h3>The notebook’s four systems</h3><p class='note'>The teaching notebook that this project grew from reports "
        "the training accuracy at the end of its one epoch: a mean over the epoch, its clumsy beginning included, "
        f"which rises with the number of rows. It read 120,000 rows; ours read {first['train_rows']:,} of them, about "
        "a third without their title. The fourth column estimates what the shorter epoch cost: the mean had it gone on "
        "to 120,000 rows at the accuracy that held-out rows showed at its end. What is left may be the missing titles, "
        "what the networks would still have learned, and luck; it was not taken apart. Where there are several "
        "figures, each is a run with another seed. No training figure says how well new text is told apart; the "
        f"test rows do ({first['test_rows']:,}, 95 % interval).</p>" + _table(head, rows, "Accuracy after one epoch")
    )
