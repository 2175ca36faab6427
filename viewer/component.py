"""TraceViewer: traces of one or two classifiers, drawn in the browser from one JSON payload."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr

_HERE = Path(__file__).parent
_SCRIPTS = ("draw.js", "panels.js", "viewer.js")


def _source(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


class TraceViewer(gr.HTML):
    """Draws what classifiers did with a sentence, and asks for the next one.

    The value is a payload (`app.py` makes it)::

        number    which question this answers
        text      the sentence
        labels    [C names]
        target    index of the class that gradients and evidence are for
        chosen    whether a person chose it
        method    the evidence that tints the words; baseline: where integrated gradients start
        evidence  per classifier Evidence.to_payload(); null for the ledger, which is in the trace
        models    per classifier {title, cellName, source, accuracy, parameters, trace: Trace.to_payload()}
        error     a sentence instead of all but number and text

    It travels as a JSON text: Gradio would else wrap each of its numbers for change tracking. Nothing of it becomes
    markup: the script writes text through `textContent` alone.

    The event `read` carries the next question, `{number, text, target, method, baseline}`; it follows typing in the
    text box of the page whose `elem_id` is "sentence".

    Args:
        value: what is drawn first, without a request.
        examples: `{title, text, look}` each, and `other`, the text that a second press shows, where there is one.
    """

    def __init__(self, value: dict[str, Any] | None = None, *, examples: list[dict[str, str]], **kwargs: Any) -> None:
        super().__init__(
            value=value,
            html_template=_source("viewer.html"),
            css_template=_source("viewer.css"),
            js_on_load="\n".join(_source(name) for name in _SCRIPTS),
            apply_default_css=False,
            examples=examples,
            **kwargs,
        )

    def postprocess(self, value: Any) -> str | None:
        """The payload as a JSON text; numbers that are not finite are refused, for no browser would read them."""
        return None if value is None else json.dumps(value, allow_nan=False, separators=(",", ":"))
