"""TraceViewer: traces of one or two classifiers, drawn in the browser from one JSON payload."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr

_HERE = Path(__file__).parent


def _source(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


class _Drawn(gr.HTML):
    """An HTML component that draws a payload in the browser, with the scripts and the style that all of them share.

    The value travels as a JSON text: Gradio would else wrap each of its numbers for change tracking. Nothing of it
    becomes markup: the scripts write text through `textContent` alone.
    """

    template: str
    scripts: tuple[str, ...]

    def __init__(self, value: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(
            value=value,
            html_template=_source(self.template),
            css_template=_source("viewer.css"),
            js_on_load="\n".join(_source(name) for name in ("draw.js", *self.scripts)),
            apply_default_css=False,
            **kwargs,
        )

    def __getattr__(self, name: str) -> Any:
        """The event `read`. Gradio would search the whole script for any other name, and asks for dozens of them for
        each new session: three quarters of what starting one takes."""
        if name == "read":
            return super().__getattr__(name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}.")

    def postprocess(self, value: Any) -> str | None:
        """The payload as a JSON text; numbers that are not finite are refused, for no browser would read them."""
        return None if value is None else json.dumps(value, allow_nan=False, separators=(",", ":"))


class TraceViewer(_Drawn):
    """Draws what classifiers did with a sentence, and asks for the next one.

    The value is a payload (`app.py` makes it)::

        number      which question this answers
        text        the sentence
        other       the text that it is compared with, or nothing
        labels      [C names]
        target      index of the class that gradients and evidence are for
        chosen      whether a person chose it
        method      the evidence that tints the words; baseline: where integrated gradients start
        evidence    per classifier Evidence.to_payload(); null for the ledger, which is in the trace
        comparison  per classifier Page.experiment() of the two sentences; null without another text
        models      per classifier {title, cellName, source, accuracy, parameters, trace: Trace.to_payload(),
                    trajectory: Trajectory.to_payload(), or null where its plane was not measured,
                    unit: null, or the page of the chosen unit: lens.units.unit_payload() with whole (accuracy with all
                    units) and rows, or {unit, missing: why there is none},
                    silenced: the unit that is held at zero, or null,
                    before: null, or what the whole network says, {predicted, probabilities: [T of [C]], final: [C]}}
        error       a sentence instead of all but number and text

    The event `read` carries the next question, `{number, text, other, target, method, baseline, units, silenced}`; it
    follows typing in the text boxes of the page whose `elem_id` are "sentence" and "other".

    Args:
        value: what is drawn first, without a request.
        examples: `{title, text, look}` each, and `other`, the text that a second press shows, where there is one.
    """

    template = "viewer.html"
    scripts = ("units.js", "panels.js", "comparison.js", "trajectory.js", "viewer.js")

    def __init__(self, value: dict[str, Any] | None = None, *, examples: list[dict[str, str]], **kwargs: Any) -> None:
        super().__init__(value, examples=examples, **kwargs)


class Experiments(_Drawn):
    """Asks an experiment's question about the sentence, once it is shown, and draws the answer.

    The value is `{number, name, seed, labels, models: Page.experiment(), error}`; the event `read` carries the next
    question, `{number, name, text, other, seed}`.
    """

    template = "experiments.html"
    scripts = ("experiments.js",)


class Units(_Drawn):
    """A table of all units and the page of a chosen one; asks for them once it is shown.

    The value is what `Page.answer_units` returns; the event `read` carries
    `{number, units: [index or null per classifier]}`.
    """

    template = "units.html"
    scripts = ("units.js", "table.js")
