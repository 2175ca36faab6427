"""The model card: what a classifier is, how well it does, and how to load it.

A card ends with a digest of itself, so that one that someone edited by hand is recognised and left alone.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Any

from model.classifier import Classifier, wilson
from model.corpus import AG_NEWS_LABELS
from model.text import MAX_TOKENS

_AG_NEWS_TEST_ROWS = 7600
_MARK = "<!-- Written by the program; this card is left alone once its text differs from sha256:{} -->"
_MARKED = re.compile(re.escape(_MARK).replace(r"\{\}", "([0-9a-f]{64})") + r"\s*\Z")


def render(classifier: Classifier, name: str) -> str:
    """The card of a classifier.

    Args:
        classifier: what it describes.
        name: what to load it by: a directory or "owner/name".
    """
    if PurePath(name).is_absolute():
        name = PurePath(name).name  # where it lies on this machine is nobody's business
    sections = [
        _front_matter(classifier, name),
        f"# {_plain(PurePath(name).name or name)}",
        _what_it_is(classifier),
        f"## Use\n\n```python\nfrom model import load\n\nclassifier = load({json.dumps(name)})\n"
        'classifier.predict(["Stocks fell on Monday."])  # probabilities, in the order of classifier.labels\n```\n\n'
        "`load` is part of Unrolled, the program that trained this classifier.",
        _data(classifier),
        _training(classifier),
        _results(classifier),
        _limits(classifier),
    ]
    text = "\n\n".join(sections)
    return f"{text}\n\n{_MARK.format(_digest(text))}\n"


def edited_by_hand(data: bytes) -> bool:
    """Whether a card is someone's own work: it has content, and not just the content that `render` gave it."""
    text = data.decode(errors="replace")
    mark = _MARKED.search(text)
    if mark is None:
        return bool(text.strip())
    return _digest(text[: mark.start()]) != mark[1]


def _digest(text: str) -> str:
    """SHA-256 of a text, however its lines end."""
    return hashlib.sha256("\n".join(text.split("\r\n")).strip().encode()).hexdigest()


def class_metrics(confusion: Sequence[Sequence[int]]) -> list[tuple[float, float, float, int]]:
    """How well each class is told apart.

    Args:
        confusion: `(C, C)` counts, true classes in rows, predicted in columns.

    Returns:
        For each class: precision, recall, F1 (each 0 where nothing is counted) and its number of rows.
    """
    metrics = []
    for index, row in enumerate(confusion):
        hits, rows, predicted = row[index], sum(row), sum(other[index] for other in confusion)
        precision, recall = hits / max(1, predicted), hits / max(1, rows)
        metrics.append((precision, recall, 2 * hits / max(1, rows + predicted), rows))
    return metrics


def _is_ag_news(classifier: Classifier) -> bool:
    test = classifier.record.get("test") or {}
    return classifier.labels == AG_NEWS_LABELS and test.get("rows") == _AG_NEWS_TEST_ROWS


def _front_matter(classifier: Classifier, name: str) -> str:
    # A large import, needed for the card alone.
    from huggingface_hub.repocard_data import EvalResult, ModelCardData

    ag_news, test = _is_ag_news(classifier), classifier.record.get("test")
    results = None
    if test:
        f1 = [metric[2] for metric in class_metrics(test["confusion"])]
        results = [
            EvalResult(
                task_type="text-classification",
                dataset_type="fancyzhx/ag_news" if ag_news else "csv",
                dataset_name="AG News" if ag_news else "own corpus",
                dataset_split="test",
                metric_type=kind,
                metric_name=title,
                metric_value=round(value, 4),
            )
            for kind, title, value in (
                ("accuracy", "Accuracy", test["accuracy"]),
                ("f1", "Macro F1", sum(f1) / len(f1)),
            )
        ]
    data = ModelCardData(
        language="en" if ag_news else None,
        pipeline_tag="text-classification",
        library_name="unrolled",
        tags=["text-classification", "pytorch", "rnn", classifier.network.config.cell],
        datasets=["fancyzhx/ag_news"] if ag_news else None,
        metrics=["accuracy", "f1"] if results else None,
        model_name=PurePath(name).name or name,
        eval_results=results,
        license="other" if ag_news else None,
        license_name="ag-news-research-non-commercial" if ag_news else None,
    )
    return f"---\n{data.to_yaml()}\n---"


def _what_it_is(classifier: Classifier) -> str:
    config = classifier.network.config
    cell = {"rnn": "a simple (Elman) RNN", "lstm": "an LSTM", "gru": "a GRU"}[config.cell]
    read = {"last": "the last state", "mean": "the mean of all states", "max": "the maximum of all states"}
    text = (
        f"A text classifier: {cell} with {config.hidden_dim} hidden units over word vectors of {config.embedding_dim} "
        f"features reads a text word by word, and a linear layer on {read[config.readout]} tells "
        f"{len(classifier.labels)} classes apart: {', '.join(map(_plain, classifier.labels))}. "
        f"It has {classifier.parameters:,} parameters and knows {len(classifier.vocabulary):,} words."
    )
    if config.padding == "read":
        text += " It reads padding as if it were words, a flaw that is reproduced here on purpose."
    return text


def _data(classifier: Classifier) -> str:
    record = classifier.record
    if _is_ag_news(classifier):
        text = (
            "AG News (Zhang, Zhao and LeCun 2015), from the AG corpus of news articles, which its author gives out for "
            "research and other non-commercial use; so is this classifier."
        )
    else:
        text = "A corpus of its trainer's own; see to its terms before passing the classifier on."
    rows = record.get("rows")
    if isinstance(rows, dict):
        text += " Rows: " + ", ".join(f"{_plain(count)} {_plain(part)}" for part, count in rows.items()) + "."
    digests = record.get("digests")
    if isinstance(digests, dict):
        text += " Which rows, by SHA-256:\n\n" + _table(("rows", "SHA-256"), digests.items())
    return f"## Data\n\n{text}"


def _training(classifier: Classifier) -> str:
    record = classifier.record
    recipe = record.get("recipe")
    text = f"Recipe: {_plain(recipe)}." if recipe else "How it was trained is not recorded."
    facts = {key: record[key] for key in ("seed", "best_epoch", "seconds", "device", "interrupted") if key in record}
    training = record.get("training")
    facts |= training if isinstance(training, dict) else {}
    if facts:
        rows = ((key.replace("_", " "), value) for key, value in facts.items())
        text += "\n\n" + _table(("setting", "value"), rows)
    if _validated(record):
        text += "\n\nThe epoch was chosen on held-out training rows; the test rows chose nothing."
    return f"## Training\n\n{text}"


def _validated(record: dict[str, Any]) -> bool:
    rows = record.get("rows")
    return isinstance(rows, dict) and bool(rows.get("validation"))


def _results(classifier: Classifier) -> str:
    test = classifier.record.get("test")
    if not test:
        return "## Results\n\nNot evaluated."
    confusion = test["confusion"]
    total, correct = sum(map(sum, confusion)), sum(row[index] for index, row in enumerate(confusion))
    if not total:
        return "## Results\n\nNot evaluated."
    low, high = wilson(correct, total)
    metrics = zip(classifier.labels, class_metrics(confusion), strict=True)
    per_class = ((label, f"{p:.3f}", f"{r:.3f}", f"{f:.3f}", rows) for label, (p, r, f, rows) in metrics)
    counts = ((label, *row) for label, row in zip(classifier.labels, confusion, strict=True))
    return (
        f"## Results\n\n**Accuracy {correct / total:.2%}** on {total:,} test rows (95 % interval {low:.2%} to "
        f"{high:.2%}, Wilson).\n\n"
        + _table(("class", "precision", "recall", "F1", "rows"), per_class)
        + "\n\nConfusion matrix: true classes in rows, predicted ones in columns.\n\n"
        + _table(("", *classifier.labels), counts)
    )


def _limits(classifier: Classifier) -> str:
    learned = "from English news of the early 2000s" if _is_ag_news(classifier) else "from its corpus"
    return (
        f"## Limits\n\nIt was made to be looked into. It knows what can be learned {learned} and nothing else: any "
        "text, on whatever subject and in whatever language, gets one of its classes. All words outside its vocabulary "
        f"look alike to it, and it reads the first {MAX_TOKENS} tokens of a text. Its probabilities are not "
        "calibrated. Do not let it decide anything about people."
    )


def _plain(value: Any) -> str:
    """A value as one line of text that neither Markdown nor HTML takes for markup."""
    text = html.escape(" ".join(str(value).split()), quote=False)
    return re.sub(r"([\\`*_{}\[\]|#~!])", r"\\\1", text)


def _table(head: Iterable[Any], rows: Iterable[Iterable[Any]]) -> str:
    head = [_plain(title) for title in head]
    lines = [head, ["---"] * len(head), *([_plain(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
