"""What a page's classifiers are asked, and what it answers. All is computed in `lens`; nothing is kept between requests
but what lies beside the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import gradio as gr

from lens.asking import Result
from lens.attribution import evidence
from lens.experiments import distance, padding, two_sentences, word_order
from lens.findings import FINDINGS, load_findings
from lens.judging import referee, two_halves
from lens.trace import Trace, plain_text, rounded, trace
from lens.units import UNITS, load_units, project, unit_payload
from model import Classifier, UserError

NAMES = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}
LARGEST_SEED = 2**32 - 1

EXPERIMENTS: dict[str, Callable[[Classifier, str, str, int], Result]] = {
    "word_order": lambda classifier, text, other, seed: word_order(classifier, text, seed),
    "distance": lambda classifier, text, other, seed: distance(classifier, text),
    "two_halves": lambda classifier, text, other, seed: two_halves(classifier, text, other),
    "padding": lambda classifier, text, other, seed: padding(classifier, text),
    "referee": lambda classifier, text, other, seed: referee(classifier, text, seed=seed),
    "two_sentences": lambda classifier, text, other, seed: two_sentences(classifier, text, other),
}


def titles(classifiers: Sequence[Classifier]) -> list[str]:
    """A short name for each: its cell, and its source's own name where both have the same cell."""
    cells = [NAMES[classifier.network.config.cell] for classifier in classifiers]
    if len(set(cells)) == len(cells):
        return cells
    own = [Path(classifier.source.name).name for classifier in classifiers]
    if len(set(own)) < len(own):
        own = ["left", "right"]
    return [f"{cell} {name}" for cell, name in zip(cells, own, strict=True)]


def describe(classifier: Classifier) -> dict[str, Any]:
    """Where a classifier came from, how good it is on its test rows, and how large it is."""
    source = classifier.source
    where = {
        "bundled": "ships with Unrolled",
        "directory": f"directory {source.name}",
        "hub": f"{source.name} on the Hub, commit {(source.commit or '')[:7]}",
        "trained": "trained here",
    }[source.kind]
    test = classifier.record.get("test")
    accuracy = "not recorded"
    if test:
        low, high = test["interval"]
        accuracy = f"{test['accuracy']:.1%} ({low:.1%} to {high:.1%})".replace("%", " %")
    return {"source": plain_text(where), "accuracy": accuracy, "parameters": classifier.parameters}


class Page:
    """The classifiers of a page, and what is asked of them."""

    def __init__(self, classifiers: Sequence[Classifier]) -> None:
        self.classifiers = list(classifiers)
        self.labels = list(self.classifiers[0].labels)
        self.titles = titles(self.classifiers)
        self.about = [
            {"title": title, "cellName": f"The {NAMES[classifier.network.config.cell]}", **describe(classifier)}
            for title, classifier in zip(self.titles, self.classifiers, strict=True)
        ]

    # ------------------------------------------------------------------------------------------------ reading

    def predict(self, text: str) -> list[dict[str, Any]]:
        """What each classifier makes of a text.

        Args:
            text: any; its first 256 tokens are read.

        Returns:
            For each classifier `name`, `label` and `probabilities` (label -> share).

        Raises:
            gr.Error: it is no text.
        """
        with _told():
            _check_texts(text)
        answers = []
        for title, classifier in zip(self.titles, self.classifiers, strict=True):
            shares = classifier.predict([text])[0].tolist()
            answers.append(
                {
                    "name": title,
                    "label": plain_text(self.labels[shares.index(max(shares))]),
                    "probabilities": {plain_text(label): p for label, p in zip(self.labels, shares, strict=True)},
                }
            )
        return answers

    def trace(self, text: str, target: str | None = None) -> list[dict[str, Any]]:
        """Everything that a text does to each classifier, as `Trace.to_payload` describes it.

        Args:
            text: any; its first 256 tokens are read.
            target: the label that gradients and evidence are for; None means the right-hand verdict.

        Returns:
            For each classifier `title`, `source`, `accuracy`, `parameters` and `trace`.

        Raises:
            gr.Error: it is no text, or there is no such label.
        """
        with _told():
            _check_texts(text)
            if target is not None and not isinstance(target, str):
                raise UserError(_NO_LABEL)
            found = self._traces(text, target, [None] * len(self.classifiers))
        return [{**about, "trace": t.to_payload()} for about, t in zip(self.about, found, strict=True)]

    def payload(
        self,
        text: str,
        target: str | None = None,
        method: str = "ledger",
        baseline: str = "zero",
        *,
        other: str = "",
        units: Sequence[int | None] = (),
        silenced: Sequence[int | None] = (),
        number: int = 0,
    ) -> dict[str, Any]:
        """What the viewer draws; see `TraceViewer`.

        Args:
            text: any; its first 256 tokens are read.
            target: the label that gradients and evidence are for; None means the right-hand verdict.
            method: the evidence that tints the words; the ledger where a unit is silenced.
            baseline: where integrated gradients start.
            other: a text to compare with, or nothing.
            units: for each classifier the unit whose page is asked for, or None.
            silenced: for each classifier the unit that is held at zero, or None.
            number: which question this answers.

        Raises:
            UserError: there is no such label, method, baseline or unit.
        """
        nobody: list[int | None] = [None] * len(self.classifiers)
        units, silenced = list(units) or nobody, list(silenced) or nobody
        traces = self._traces(text, target, silenced)
        found = None
        if method != "ledger" and silenced == nobody:
            label = self.labels[traces[-1].target]
            asked = (evidence(classifier, text, label, method, baseline) for classifier in self.classifiers)
            found = [answer.to_payload() for answer in asked]
        return {
            "number": number,
            "text": plain_text(text),
            "other": plain_text(other),
            "labels": [plain_text(label) for label in self.labels],
            "target": traces[-1].target,
            "chosen": target is not None,
            "method": method if found else "ledger",
            "baseline": baseline,
            "evidence": found,
            "comparison": self.experiment("two_sentences", text, other) if other else None,
            "models": [
                {
                    **about,
                    "trace": t.to_payload(),
                    "trajectory": self._trajectory(side, t),
                    "unit": None if (unit := units[side]) is None else self._unit(side, unit),
                    "silenced": silenced[side],
                    "before": None if silenced[side] is None else self._before(side, text),
                }
                for side, (about, t) in enumerate(zip(self.about, traces, strict=True))
            ],
            "error": None,
        }

    def answer(self, event: gr.EventData) -> dict[str, Any]:
        """Answers the viewer's question; what a person did wrong comes back as a sentence in `error`."""
        asked = event._data if isinstance(event._data, dict) else {}
        number, text, other = _number(asked.get("number")), asked.get("text"), asked.get("other", "")
        target, method, baseline = asked.get("target"), asked.get("method", "ledger"), asked.get("baseline", "zero")
        units, silenced = asked.get("units", []), asked.get("silenced", [])
        try:
            if not (isinstance(text, str) and isinstance(other, str)):
                raise UserError("A question needs a text.")
            if not (isinstance(method, str) and isinstance(baseline, str)):
                raise UserError("A question names its method and its baseline.")
            if target is not None and not isinstance(target, str):
                raise UserError(_NO_LABEL)
            for numbers in (units, silenced):
                whole = isinstance(numbers, list) and all(one is None or type(one) is int for one in numbers)
                if not whole or len(numbers) not in (0, len(self.classifiers)):
                    raise UserError("Units are numbers, one for each network, or null.")
            return self.payload(
                text, target, method, baseline, other=other, units=units, silenced=silenced, number=number
            )
        except UserError as error:
            shown = plain_text(text) if isinstance(text, str) else ""
            return {"number": number, "text": shown, "error": plain_text(str(error))}

    def _traces(self, text: str, target: str | None, silenced: Sequence[int | None]) -> list[Trace]:
        """A trace by each classifier, all for the class that is the right-hand verdict where none is named."""

        def one(side: int, label: str | None) -> Trace:
            unit = silenced[side]
            return trace(self.classifiers[side], text, label, () if unit is None else (self._checked(side, unit),))

        right = one(len(self.classifiers) - 1, target)
        return [*(one(side, self.labels[right.target]) for side in range(len(self.classifiers) - 1)), right]

    def _before(self, side: int, text: str) -> dict[str, Any]:
        """The verdicts of the whole network, to hold those without a unit against."""
        whole = trace(self.classifiers[side], text)
        return {
            "predicted": whole.predicted,
            "probabilities": rounded(whole.probabilities),
            "final": rounded(whole.logits.softmax(0)),
        }

    # ------------------------------------------------------------------------------------------------ units

    def _checked(self, side: int, unit: int) -> int:
        size = self.classifiers[side].network.config.hidden_dim
        if not 0 <= unit < size:
            raise UserError(f"There is no unit {unit}; this classifier's are 0 to {size - 1}.")
        return unit

    def _unit(self, side: int, unit: int) -> dict[str, Any]:
        self._checked(side, unit)
        note, missing = self._units[side]
        if note is None:
            return {"unit": unit, "missing": missing}
        return {**unit_payload(self.classifiers[side], note, unit), "whole": note["accuracy"], "rows": note["rows"]}

    def _trajectory(self, side: int, found: Trace) -> dict[str, Any] | None:
        note, _ = self._units[side]
        return None if note is None else project(self.classifiers[side], note, found).to_payload()

    def answer_units(self, event: gr.EventData) -> dict[str, Any]:
        """Answers the Units tab: all units in short, and the page of those that `units` names."""
        asked = event._data if isinstance(event._data, dict) else {}
        chosen = asked.get("units", [])
        if not isinstance(chosen, list) or len(chosen) != len(self.classifiers):
            chosen = [None] * len(self.classifiers)
        models = []
        for side, unit in enumerate(chosen):
            note, missing = self._units[side]
            size = self.classifiers[side].network.config.hidden_dim
            here = unit if type(unit) is int and 0 <= unit < size else None
            brief = [{**one, "windows": []} for one in note["units"]] if note else None
            models.append(
                {
                    "title": self.titles[side],
                    "missing": missing,
                    "whole": note["accuracy"] if note else None,
                    "rows": note["rows"] if note else None,
                    "units": brief,
                    "unit": None if here is None else self._unit(side, here),
                }
            )
        labels = [plain_text(label) for label in self.labels]
        return {"number": _number(asked.get("number")), "labels": labels, "models": models}

    @cached_property
    def _units(self) -> list[tuple[dict[str, Any] | None, str | None]]:
        return [self._note(classifier, load_units, UNITS) for classifier in self.classifiers]

    @cached_property
    def _findings(self) -> list[tuple[dict[str, Any] | None, str | None]]:
        return [self._note(classifier, load_findings, FINDINGS) for classifier in self.classifiers]

    @staticmethod
    def _note(
        classifier: Classifier, read: Callable[[Classifier], dict[str, Any] | None], name: str
    ) -> tuple[dict[str, Any] | None, str | None]:
        """What lies beside a classifier's weights, or a sentence on why it does not."""
        try:
            note = read(classifier)
        except UserError as error:
            return None, plain_text(str(error))
        missing = f"It has no {name}: train.py --measure makes it."
        return note, None if note else missing

    # ------------------------------------------------------------------------------------------------ experiments

    def experiment(self, name: str, text: str, other: str = "", seed: int = 0) -> list[dict[str, Any]]:
        """Asks each classifier one of the experiments' questions.

        Returns:
            For each classifier `title`; `result`, as the experiment's `to_payload()` has it, and `csv`, the same as a
            table; or `error`, the sentence on why it cannot be asked; and `test_set`, what the same question gave on
            the test rows (`lens.findings`), or in `missing` why that is not known.

        Raises:
            UserError: there is no such experiment or seed, or what is asked about is no text.
        """
        _check_texts(text, other)
        if name not in EXPERIMENTS:
            raise UserError(f"There is no experiment {name!r}; there is {', '.join(EXPERIMENTS)}.")
        if type(seed) is not int or not 0 <= seed <= LARGEST_SEED:
            raise UserError(f"The seed is {str(seed)[:40]!r}; it must be a whole number from 0 to {LARGEST_SEED}.")
        answers = []
        for side, (title, classifier) in enumerate(zip(self.titles, self.classifiers, strict=True)):
            note, missing = self._findings[side]
            found: dict[str, Any] = {"result": None, "csv": None, "error": None}
            try:
                result = EXPERIMENTS[name](classifier, text, other, seed)
                found |= {"result": result.to_payload(), "csv": result.to_csv()}
            except UserError as error:
                found["error"] = plain_text(str(error))
            answers.append({"title": title, **found, "test_set": note and note[name], "missing": missing})
        return answers

    def answer_experiment(self, event: gr.EventData) -> dict[str, Any]:
        """Answers the Experiments tab."""
        asked = event._data if isinstance(event._data, dict) else {}
        number, name, seed = _number(asked.get("number")), asked.get("name"), asked.get("seed", 0)
        text, other = asked.get("text"), asked.get("other", "")
        try:
            if not (isinstance(name, str) and isinstance(text, str) and isinstance(other, str)):
                raise UserError("An experiment needs its name and a text.")
            if not self.classifiers[0].read(text)[0]:
                raise UserError("There is nothing to read: type a sentence.")
            models = self.experiment(name, text, other, seed)
        except UserError as error:
            return {"number": number, "error": plain_text(str(error))}
        labels = [plain_text(label) for label in self.labels]
        return {"number": number, "name": name, "seed": seed, "labels": labels, "models": models, "error": None}

    def word_order(self, text: str, seed: int = 0) -> list[dict[str, Any]]:
        """Does the order of the words matter? 50 shuffles and the reversal; see `experiment`."""
        return self._asked("word_order", text, "", seed)

    def distance(self, text: str) -> list[dict[str, Any]]:
        """How long does an answer last among neutral words? See `experiment`."""
        return self._asked("distance", text)

    def two_halves(self, first: str, second: str) -> list[dict[str, Any]]:
        """Which of two joined headlines wins, and which evidence points into it? See `experiment`."""
        return self._asked("two_halves", first, second)

    def padding(self, text: str) -> list[dict[str, Any]]:
        """What does it cost to read padding as words? See `experiment`."""
        return self._asked("padding", text)

    def referee(self, text: str, seed: int = 0) -> list[dict[str, Any]]:
        """Which evidence method should be believed? See `experiment`."""
        return self._asked("referee", text, "", seed)

    def two_sentences(self, first: str, second: str) -> list[dict[str, Any]]:
        """Where do the verdicts on two texts part? See `experiment`."""
        return self._asked("two_sentences", first, second)

    def _asked(self, name: str, text: str, other: str = "", seed: int = 0) -> list[dict[str, Any]]:
        with _told():
            return self.experiment(name, text, other, seed)


_NO_LABEL = "A class is named by its label."


@contextmanager
def _told() -> Iterator[None]:
    """Tells a program what was wrong with its request; the log, which may name what a visitor typed, is not told."""
    try:
        yield
    except UserError as error:
        raise gr.Error(plain_text(str(error)), print_exception=False) from error


def _check_texts(*texts: object) -> None:
    if not all(isinstance(text, str) for text in texts):
        raise UserError("A text is needed, in quotes as JSON has it.")


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
