"""Watch an RNN and an LSTM read a sentence, word by word.

  python app.py                                      the two classifiers that ship
  python app.py --models checkpoints/rnn checkpoints/lstm
  python app.py --models OWNER/agnews-lstm           one of your own, from the Hugging Face Hub
  UNROLLED_MODELS=OWNER/a,OWNER/b python app.py      the same on a Space

Models are directories that train.py wrote, or repositories on the Hub; the first is drawn left, the second right.
"""

from __future__ import annotations

import argparse
import inspect
import os
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

# A classifier comes over the plain way, on which its time and its bytes are bounded; gradio imports the Hub's client.
os.environ.setdefault("HF_HUB_DISABLE_XET", "1")

# ZeroGPU changes torch, so this comes before it; and it ends a Space without a function for its GPU. This one is never
# called: a headline's experiment takes a tenth of a second on the CPU, and a loan of the GPU costs a visitor's quota.
if os.environ.get("SPACES_ZERO_GPU"):
    try:
        import spaces
    except ImportError:
        sys.exit("This Space runs on ZeroGPU, which needs the package spaces: add it to requirements.txt.")
    spaces.GPU(lambda: None)

import gradio as gr
import torch
from gradio.blocks import BlockFunction
from starlette.middleware import Middleware

from model import Classifier, UserError, load
from viewer.component import Experiments, TraceViewer, Units
from viewer.gate import LINE, Gate
from viewer.page import EXPERIMENTS, Page, titles
from viewer.training import training_tab

BUNDLED = [str(Path(__file__).parent / "model" / "pretrained" / name) for name in ("rnn", "lstm")]

# Each teaches one claim about the classifiers that ship; tests hold the claims against the weights.
EXAMPLES = [
    {
        "title": "Agreement",
        "text": "Stocks fell on Monday as oil prices hit a new record.",
        "look": "Both say Business from the first word on. The ledger shows what each later word still adds.",
    },
    {
        "title": "Early evidence, then filler",
        "text": "Space probe lands on Titan, and that was all that there was to say about it, as is so often the case, "
        "when there is not much to say, and as it may well be once more.",
        "look": "Both hold Sci/Tech through 30 words that say nothing. Lifeline: going back to the first word, the "
        "RNN’s gradient falls below 1 % of its last value; through the LSTM’s cell (the pale line) more than 10 % "
        "arrive.",
    },
    {
        "title": "Two topics",
        "text": "Chelsea win the cup final as Apple unveils a new iPod.",
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

# Visitors whom Gradio remembers, to answer each the next time 2 ms earlier; a class of two hundred fits.
SESSIONS = 256
LONG = ("experiment", *EXPERIMENTS)  # endpoints; on two texts of 256 tokens one takes some seconds
QUEUE = "all"  # what clients ask through Gradio's queue in spite of it is computed one at a time, whatever it is

# Loads nothing from other hosts: Gradio's default theme asks for Google's fonts.
THEME = gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]).set(
    # Its greys, 1.9 to 1 on white and 2.1 in a dark text box, are too faint to be read from the back of a class.
    body_text_color_subdued="*neutral_600",
    block_title_text_color="*neutral_600",
    input_placeholder_color="*neutral_600",
    input_placeholder_color_dark="*neutral_300",
)
# Gradio makes the whole page a scrolling box that never scrolls, in which nothing can stay in sight.
# On a phone all tabs stand side by side: of four, two went behind a menu.
CSS = """.gradio-container { overflow: clip !important; }
@media (max-width: 760px) { .tab-container button { padding-inline: 8px !important; } }"""


def examples_for(classifiers: Sequence[Classifier]) -> list[dict[str, str]]:
    """The examples; what they claim is said only of the two that ship, and of others only the sentences are shown."""
    if [classifier.source.kind for classifier in classifiers] == ["bundled"] * 2 and titles(classifiers) == [
        "RNN",
        "LSTM",
    ]:
        return EXAMPLES
    return [{"title": example["text"], "text": example["text"], "look": ""} for example in EXAMPLES]


class _Blocks(gr.Blocks):
    """Blocks that keep and print nothing of what visitors type."""

    def validate_inputs(self, block_fn: BlockFunction, inputs: list[Any]) -> None:
        """Refuses a request that lacks a value; Gradio's own refusal writes what a visitor typed into the log."""
        if len(inputs) < len(block_fn.inputs):
            names = ", ".join(inspect.signature(cast(Callable[..., Any], block_fn.fn)).parameters)
            told = f"{block_fn.api_name} takes {len(block_fn.inputs)} values ({names}) and got {len(inputs)}"
            raise gr.Error(f"{told}: send them all.", print_exception=False)

    async def process_api(
        self, block_fn: Any, inputs: list[Any], state: Any = None, *rest: Any, **options: Any
    ) -> dict[str, Any]:
        """Answers one request. Gradio keeps for each session what it was sent and told last, and the properties of all
        components beside it, for links that this page makes by itself; so all of it is taken away again."""
        try:
            return await super().process_api(block_fn, inputs, state, *rest, **options)
        finally:
            if state:
                state.config_values.clear()


def build(page: Page) -> gr.Blocks:
    """The page, with the first example's result already in it."""
    first = EXAMPLES[0]["text"]
    with _Blocks(title="Unrolled", analytics_enabled=False, fill_width=True) as blocks:
        gr.Markdown(INTRO)
        with gr.Row():  # above the tabs, which all ask about it
            gr.Textbox(
                first,
                label="Sentence",
                info="Results follow your typing. The first 256 tokens are read.",
                lines=2,
                max_lines=6,
                scale=2,
                min_width=300,
                elem_id="sentence",
                interactive=True,
                placeholder="A headline, or any text",
            )
            gr.Textbox(
                label="Second sentence",
                info="Optional: compared with the first, word by word; two headlines for “Two halves”.",
                lines=2,
                max_lines=6,
                min_width=240,
                elem_id="other",
                interactive=True,
                placeholder="Another text, or nothing",
            )
        with gr.Tabs():
            with gr.Tab("Read"):
                viewer = TraceViewer(page.payload(first), examples=examples_for(page.classifiers), elem_id="viewer")
            with gr.Tab("Experiments"):
                experiments = Experiments(elem_id="experiments")
            with gr.Tab("Units"):
                units = Units(elem_id="units")
            with gr.Tab("Training"):
                training_tab(page.classifiers, page.titles)
        for name, component, answer in (
            ("read", viewer, page.answer),
            ("experiment", experiments, page.answer_experiment),
            ("units", units, page.answer_units),
        ):
            # Posted directly: through the queue an answer takes ten times as long. Each asks one question at a time.
            component.read(
                answer,
                None,
                component,
                queue=False,
                show_progress="hidden",
                trigger_mode="multiple",
                api_name=name,
                api_visibility="private",
                concurrency_id=QUEUE,
            )
        for name in ("predict", "trace", *EXPERIMENTS):
            gr.api(getattr(page, name), api_name=name, queue=False, concurrency_id=QUEUE)
    return blocks


def serve(blocks: gr.Blocks, host: str, port: int, **options: Any) -> None:
    """Answers requests until Ctrl-C.

    Args:
        blocks: the page.
        host: address to listen on.
        port: port.
        options: others of `Blocks.launch`.
    """
    numbers = [number for number, function in blocks.fns.items() if function.api_name in LONG]
    blocks.queue(max_size=LINE)  # what programs ask by way of the queue is computed one by one, all endpoints together
    blocks.launch(
        server_name=host,
        server_port=port,
        footer_links=["api"],
        run_history=False,
        enable_monitoring=False,
        max_file_size="1b",  # nothing here takes a file
        state_session_capacity=SESSIONS,
        app_kwargs={"middleware": [Middleware(Gate, long=[*LONG, *numbers])]},
        ssr_mode=False,
        theme=THEME,
        css=CSS,
        _frontend=False,  # Gradio would else look whether it can see itself, and give up where the machine is busy
        **options,
    )


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
        serve(build(page), args.host, args.port, root_path=args.root_path, share=args.share, show_error=args.debug)
    except UserError as error:
        if args.debug:
            raise
        print(error, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
