"""Watch an RNN and an LSTM read a sentence, word by word.

  python app.py                                      the two classifiers that ship
  python app.py --models checkpoints/rnn checkpoints/lstm
  python app.py --models OWNER/agnews-lstm           one of your own, from the Hugging Face Hub
  UNROLLED_MODELS=OWNER/a,OWNER/b python app.py      the same on a Space

Models are directories that train.py wrote, or repositories on the Hub; the first is drawn left, the second right.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import torch

from lens.attribution import evidence
from lens.trace import trace
from model import Classifier, UserError, load
from viewer.component import TraceViewer
from viewer.training import training_tab

BUNDLED = [str(Path(__file__).parent / "model" / "pretrained" / name) for name in ("rnn", "lstm")]
NAMES = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}

# Each teaches one claim about the classifiers that ship; tests hold the claims against the weights.
EXAMPLES = [
    {
        "title": "Agreement",
        "text": "Stocks fell on Monday as oil prices hit a new record.",
        "look": "Both say Business from the first word on. The ledger shows what each later word still adds.",
    },
    {
        "title": "Early evidence, then filler",
        "text": "NASA spacecraft lands on Mars, and that was all that there was to say about it at the end of a long "
        "day, as it often is at this time of the year.",
        "look": "Both hold Sci/Tech through 30 words that say nothing. Lifeline: going back to the first word, the "
        "RNN’s gradient falls below 1 % of its last value; through the LSTM’s cell (the pale line) more than 10 % "
        "arrive.",
    },
    {
        "title": "Two topics",
        "text": "Chelsea win the cup final as Microsoft releases a new version of Windows.",
        "look": "The RNN goes with what it read last, the LSTM stays with what it read first: watch the running "
        "verdict.",
    },
    {
        "title": "Word order",
        "text": "The minister blames Real Madrid",
        "other": "Real Madrid blames the minister",
        "look": "Press twice: the same five words in the other order, and both change their answer.",
    },
    {
        "title": "Unknown words",
        "text": "Vornaq Plixo shares jump after Zuntar agrees to buy Brelfin",
        "look": "Four of ten words are unknown and underlined; “shares” and “buy” carry the verdict of both.",
    },
    {
        "title": "Both wrong",
        "text": "Windows broken as rioters march through the capital",
        "look": "World news, and both say Sci/Tech: see which word drew them there, and what never made up for it.",
    },
]

INTRO = """# Unrolled
Watch an RNN and an LSTM read a sentence, word by word. Type a headline: both networks read it as you type."""

# Loads nothing from other hosts: Gradio's default theme asks for Google's fonts.
THEME = gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
# Gradio makes the whole page a scrolling box that never scrolls, in which nothing can stay in sight.
CSS = ".gradio-container { overflow: clip !important; }"

_SURROGATE = re.compile("[\ud800-\udfff]")


def plain(text: str) -> str:
    """`text` without lone surrogates, which no JSON encoder takes."""
    return _SURROGATE.sub("\ufffd", text)


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
    return {"source": plain(where), "accuracy": accuracy, "parameters": classifier.parameters}


class Page:
    """The classifiers of a page, and what is asked of them. Keeps nothing between requests."""

    def __init__(self, classifiers: Sequence[Classifier]) -> None:
        self.classifiers = list(classifiers)
        self.labels = list(self.classifiers[0].labels)
        self.titles = titles(self.classifiers)
        self.about = [
            {"title": title, "cellName": f"The {NAMES[classifier.network.config.cell]}", **describe(classifier)}
            for title, classifier in zip(self.titles, self.classifiers, strict=True)
        ]

    def predict(self, text: str) -> list[dict[str, Any]]:
        """What each classifier makes of a text.

        Args:
            text: any; its first 256 tokens are read.

        Returns:
            For each classifier `name`, `label` and `probabilities` (label -> share).
        """
        answers = []
        for title, classifier in zip(self.titles, self.classifiers, strict=True):
            shares = classifier.predict([text])[0]
            answers.append(
                {
                    "name": title,
                    "label": plain(self.labels[int(shares.argmax())]),
                    "probabilities": {plain(label): float(p) for label, p in zip(self.labels, shares, strict=True)},
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
            gr.Error: there is no such label.
        """
        try:
            return self.payload(text, target)["models"]
        except UserError as error:
            raise gr.Error(plain(str(error)), print_exception=False) from error

    def payload(
        self,
        text: str,
        target: str | None = None,
        method: str = "ledger",
        baseline: str = "zero",
        number: int = 0,
    ) -> dict[str, Any]:
        """What the viewer draws; see `TraceViewer`."""
        # The right-hand verdict is the class that both panels are about, so it is asked for first.
        right = trace(self.classifiers[-1], text, target)
        label = self.labels[right.target]
        traces = [trace(classifier, text, label) for classifier in self.classifiers[:-1]] + [right]
        found = None
        if method != "ledger":
            asked = (evidence(classifier, text, label, method, baseline) for classifier in self.classifiers)
            found = [answer.to_payload() for answer in asked]
        return {
            "number": number,
            "text": plain(text),
            "labels": [plain(label) for label in self.labels],
            "target": right.target,
            "chosen": target is not None,
            "method": method,
            "baseline": baseline,
            "evidence": found,
            "models": [{**about, "trace": t.to_payload()} for about, t in zip(self.about, traces, strict=True)],
            "error": None,
        }

    def answer(self, event: gr.EventData) -> dict[str, Any]:
        """Answers the viewer's question; what a person did wrong comes back as a sentence in `error`."""
        asked = event._data if isinstance(event._data, dict) else {}
        number = asked.get("number")
        number = number if isinstance(number, int) else 0
        text = asked.get("text")
        target, method, baseline = asked.get("target"), asked.get("method", "ledger"), asked.get("baseline", "zero")
        try:
            if not (isinstance(text, str) and isinstance(method, str) and isinstance(baseline, str)):
                raise UserError("A question needs a text, a method and a baseline.")
            if target is not None and not isinstance(target, str):
                raise UserError("A class is named by its label.")
            return self.payload(text, target, method, baseline, number)
        except UserError as error:
            return {"number": number, "text": plain(text) if isinstance(text, str) else "", "error": plain(str(error))}


def examples_for(classifiers: Sequence[Classifier]) -> list[dict[str, str]]:
    """The examples; what they claim is said only of the two that ship, and of others only the sentences are shown."""
    if [classifier.source.kind for classifier in classifiers] == ["bundled"] * 2 and titles(classifiers) == [
        "RNN",
        "LSTM",
    ]:
        return EXAMPLES
    return [{"title": example["text"], "text": example["text"], "look": ""} for example in EXAMPLES]


def build(page: Page) -> gr.Blocks:
    """The page, with the first example's result already in it."""
    first = EXAMPLES[0]["text"]
    with gr.Blocks(title="Unrolled", analytics_enabled=False, fill_width=True) as blocks:
        gr.Markdown(INTRO)
        with gr.Tabs():
            with gr.Tab("Read"):
                gr.Textbox(
                    first,
                    label="Sentence",
                    info="Results follow your typing. The first 256 tokens are read.",
                    lines=2,
                    max_lines=6,
                    elem_id="sentence",
                    interactive=True,
                    placeholder="A headline, or any text",
                )
                viewer = TraceViewer(page.payload(first), examples=examples_for(page.classifiers), elem_id="viewer")
            with gr.Tab("Training"):
                training_tab(page.classifiers, page.titles)
        # Posted directly: through the queue an answer takes ten times as long. The viewer asks one question at a time.
        viewer.read(
            page.answer,
            None,
            viewer,
            queue=False,
            show_progress="hidden",
            trigger_mode="multiple",
            api_visibility="private",
        )
        gr.api(page.predict, api_name="predict", queue=False)
        gr.api(page.trace, api_name="trace", queue=False)
    return blocks


def load_classifiers(names: Sequence[str]) -> list[Classifier]:
    """One classifier or two, ready to be shown side by side.

    Raises:
        UserError: there are more, one cannot be loaded or reads padding as words, or their labels differ.
    """
    if not 1 <= len(names) <= 2:
        raise UserError(f"{len(names)} models were named; the page shows one or two: --models LEFT [RIGHT].")
    classifiers = [load(name) for name in names]
    for name, classifier in zip(names, classifiers, strict=True):
        if classifier.network.config.padding == "read":
            raise UserError(
                f"{name} reads padding as words, so its answer depends on what is read beside it: it can be trained "
                "and measured but not shown. Train it with a recipe that leaves padding out."
            )
    if len({classifier.labels for classifier in classifiers}) > 1:
        told = " and ".join(f"{name} ({', '.join(c.labels)})" for name, c in zip(names, classifiers, strict=True))
        raise UserError(f"The two models tell different classes apart: {told}. Name two with the same labels.")
    return classifiers


def named_models(option: Sequence[str] | None) -> list[str]:
    """The models that the command line, else the environment, names; else the two that ship."""
    if option:
        return list(option)
    listed = [name.strip() for name in os.environ.get("UNROLLED_MODELS", "").split(",") if name.strip()]
    return listed or BUNDLED


def check_port(host: str, port: int) -> None:
    """Makes sure that the address can be listened on, before anything is loaded.

    Raises:
        UserError: it cannot.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"Port {port} of {host} cannot be used ({reason}): choose another with --port.") from error


def reach_directly(host: str) -> None:
    """Keeps a proxy that the environment names out of the way to `host`: Gradio calls on its own page as it starts."""
    kept = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join(filter(None, [kept, host, "127.0.0.1", "localhost"]))


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--models", nargs="+", metavar="MODEL", help="one or two directories or Hub repositories, left and right")
    add("--host", default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"), help="address to listen on")
    add("--port", type=int, default=os.environ.get("GRADIO_SERVER_PORT", "7860"), help="port (default: 7860)")
    add("--root-path", metavar="PATH", help="the path under which a proxy serves the page, such as /unrolled")
    add("--share", action="store_true", help="a public link through Gradio's tunnel")
    add("--debug", action="store_true", help="show the traceback of an error")
    return parser


def main() -> None:
    """Runs the command line; what a person did wrong ends in one sentence and exit code 1."""
    args = arguments().parse_args()
    try:
        check_port(args.host, args.port)
        reach_directly(args.host)
        # A sentence is many small steps: a second thread costs more in waiting than it computes.
        torch.set_num_threads(1)
        page = Page(load_classifiers(named_models(args.models)))
        build(page).launch(
            server_name=args.host,
            server_port=args.port,
            root_path=args.root_path,
            share=args.share,
            show_error=args.debug,
            footer_links=["api"],
            run_history=False,
            ssr_mode=False,
            theme=THEME,
            css=CSS,
            _frontend=False,  # Gradio would else look whether it can see itself, and give up where the machine is busy
        )
    except UserError as error:
        if args.debug:
            raise
        print(error, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
