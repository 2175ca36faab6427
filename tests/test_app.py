"""The page without a browser: its options, its endpoints, and what strangers send."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from urllib.request import proxy_bypass_environment

import gradio as gr
import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from tiny import tiny

from app import BUNDLED, EXAMPLES, Page, build, examples_for, load_classifiers, named_models, reach_directly
from benchmarks.running import free_port
from model import Classifier, UserError, load, save
from model.network import RecurrentNetwork
from viewer.component import TraceViewer

ROOT = Path(__file__).parents[1]

HOSTILE = {
    "nothing": "",
    "spaces": " \t\n ",
    "unknown words": "zorgblatt quonx",
    "punctuation": "?!... ;:\"' ()",
    "emoji": "🙂👩‍👩‍👧",
    "chinese": "股市星期一下跌",
    "right to left": "עברית عربي \u202e",
    "NUL": "a\0b \0",
    "a megabyte": "oil prices " * 95_000,
    "one long word": "x" * 1_000_000,
    "markup": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "templates": "${alert(1)} {{alert}} {% x %}",
    "lone surrogates": "\ud800 oil \udfff",
    "special words": "<unk> <pad>",
}


def run(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "app.py", *options],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one sentence of a start that was refused."""
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    return lines[0]


def reading_padding() -> Classifier:
    classifier = tiny("rnn")
    network = RecurrentNetwork(replace(classifier.network.config, padding="read")).eval()
    half = {name: weight.half().float() for name, weight in network.state_dict().items()}
    network.load_state_dict(half)
    return replace(classifier, network=network)


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(load_classifiers(BUNDLED))


@pytest.fixture(scope="module")
def client(page: Page) -> Iterator[Client]:
    blocks = build(page)
    _, url, _ = blocks.launch(server_port=free_port(), prevent_thread_lock=True, quiet=True, ssr_mode=False)
    yield Client(url, verbose=False)
    blocks.close()


def test_without_options_the_two_that_ship_are_shown(monkeypatch):
    monkeypatch.delenv("UNROLLED_MODELS", raising=False)
    assert named_models(None) == BUNDLED
    assert [load(name).source.kind for name in BUNDLED] == ["bundled", "bundled"]


def test_the_environment_names_models_and_the_command_line_comes_first(monkeypatch):
    monkeypatch.setenv("UNROLLED_MODELS", "one, two")
    assert named_models(None) == ["one", "two"]
    assert named_models(["three"]) == ["three"]


def test_one_classifier_is_shown_alone(tmp_path):
    save(tiny(), tmp_path / "one")
    shown = Page(load_classifiers([str(tmp_path / "one")])).payload("the cup")
    assert [model["title"] for model in shown["models"]] == ["LSTM"]
    assert shown["models"][0]["source"] == f"directory {tmp_path / 'one'}"


def test_two_of_one_cell_are_told_apart_by_their_names(tmp_path):
    for name in ("left", "right"):
        save(tiny(), tmp_path / name)
    found = Page(load_classifiers([str(tmp_path / "left"), str(tmp_path / "right")]))
    assert found.titles == ["LSTM left", "LSTM right"]


def test_a_classifier_without_a_test_record_says_so(tmp_path):
    classifier = tiny()
    classifier.record = {}
    save(classifier, tmp_path / "bare")
    assert Page(load_classifiers([str(tmp_path / "bare")])).about[0]["accuracy"] == "not recorded"


def test_more_than_two_models_are_refused():
    assert "3 models" in refused(run("--models", "a", "b", "c"))


def test_a_model_that_cannot_be_loaded_stops_the_start(tmp_path):
    assert "nowhere" in refused(run("--models", str(tmp_path / "nowhere")))
    assert "nowhere" in refused(run(UNROLLED_MODELS=str(tmp_path / "nowhere")))


def test_debug_shows_the_traceback(tmp_path):
    done = run("--debug", "--models", str(tmp_path / "nowhere"))
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_classifier_that_reads_padding_is_refused_with_the_reason(tmp_path):
    save(reading_padding(), tmp_path / "flawed")
    with pytest.raises(UserError, match="reads padding as words"):
        load_classifiers([str(tmp_path / "flawed")])


def test_classifiers_with_different_labels_are_refused(tmp_path):
    save(tiny(), tmp_path / "one")
    save(tiny(labels=("Sport", "Weather")), tmp_path / "other")
    with pytest.raises(UserError, match=r"different classes.*Money.*Weather"):
        load_classifiers([str(tmp_path / "one"), str(tmp_path / "other")])


def test_a_port_in_use_is_said_in_one_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"Port {port}" in refused(run("--port", str(port)))


def test_a_proxy_does_not_stand_between_the_page_and_itself(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "example.org")
    monkeypatch.setenv("no_proxy", "")
    reach_directly("127.0.0.2")
    for host in ("127.0.0.2", "127.0.0.1", "localhost", "example.org"):
        assert proxy_bypass_environment(host)
    assert not proxy_bypass_environment("example.com")


def test_what_the_examples_claim_is_said_of_the_classifiers_that_ship_alone(page, tmp_path):
    assert examples_for(page.classifiers) == EXAMPLES
    for shown in (page.classifiers[:1], page.classifiers[::-1], [tiny("rnn"), tiny("lstm")]):
        found = examples_for(shown)
        assert [example["text"] for example in found] == [example["text"] for example in EXAMPLES]
        assert not any(example["look"] for example in found)


def test_predict_answers_for_each_classifier(client):
    answers = client.predict("Stocks fell on Monday.", api_name="/predict")
    assert [answer["name"] for answer in answers] == ["RNN", "LSTM"]
    for answer in answers:
        assert answer["label"] == "Business"
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert max(answer["probabilities"], key=answer["probabilities"].get) == answer["label"]


def test_trace_gives_both_payloads_for_the_asked_class(client):
    left, right = client.predict("Stocks fell on Monday.", "Sports", api_name="/trace")
    assert (left["title"], right["title"]) == ("RNN", "LSTM")
    assert left["trace"]["target"] == right["trace"]["target"] == 1
    left, right = client.predict("Stocks fell on Monday.", api_name="/trace")
    assert left["trace"]["target"] == right["trace"]["target"] == right["trace"]["predicted"]


def test_the_readme_shows_a_client_that_runs(client, capsys):
    readme = (ROOT / "README.md").read_text()
    code = next(block for block in readme.split("```python")[1:] if "gradio_client" in block).split("```")[0]
    exec(compile(code.replace("http://127.0.0.1:7860", client.src), "README.md", "exec"), {})
    assert "LSTM" in capsys.readouterr().out


def test_a_class_that_is_not_there_comes_back_as_a_sentence(client):
    with pytest.raises(AppError, match="There is no class 'Weather'"):
        client.predict("Stocks fell.", "Weather", api_name="/trace")


@pytest.mark.parametrize("name", HOSTILE)
def test_any_text_has_an_answer(page, name):
    text = HOSTILE[name]
    for value in (page.predict(text), page.trace(text), page.payload(text)):
        json.dumps(value, allow_nan=False).encode()
        json.dumps(value, ensure_ascii=False).encode()
    for model in page.trace(text):
        assert len(model["trace"]["tokens"]) <= 256
    if name == "a megabyte":
        assert page.trace(text)[0]["trace"]["truncated"] == 190_000 - 256


@pytest.mark.parametrize("name", ["nothing", "emoji", "NUL", "markup", "lone surrogates"])
def test_any_text_has_an_answer_over_http(client, name):
    if name == "lone surrogates":
        body = '{"data": ["\\ud800 oil"]}'
        answer = httpx.post(
            f"{client.src}gradio_api/run/predict", content=body, headers={"content-type": "application/json"}
        )
        assert answer.status_code == 200
        return
    assert len(client.predict(HOSTILE[name], api_name="/predict")) == 2


@pytest.mark.parametrize(
    "question",
    [None, 3, [], {}, {"text": 3}, {"text": ["a"]}, {"text": "a", "target": 3}, {"text": "a", "target": "Weather"},
     {"text": "a", "method": "magic"}, {"text": "a", "method": ["x"]},
     {"text": "a", "method": "integrated gradients", "baseline": {}}],
)  # fmt: skip
def test_a_question_that_makes_no_sense_is_answered_with_a_sentence(page, question):
    answer = page.answer(gr.EventData(None, question) if question is not None else SimpleNamespace(_data=None))
    assert answer["error"].endswith(".")
    json.dumps(answer, allow_nan=False)


def test_both_payloads_for_40_tokens_fit_into_150_kilobytes(page):
    text = " ".join(["Stocks fell on Monday as oil prices hit a"] * 4 + ["new record then"] * 1 + ["rise"])
    payload = page.payload(text, method="integrated gradients")
    assert len(payload["models"][0]["trace"]["tokens"]) == 40
    assert payload["models"][0]["trace"]["units"] == 64
    assert len(json.dumps(payload, separators=(",", ":"))) <= 150_000


def test_the_first_paint_is_the_first_example(page):
    config = build(page).get_config_file()
    value = next(
        c["props"]["value"]
        for c in config["components"]
        if "TraceViewer" in str(c["props"].get("component_class_name"))
    )
    assert json.loads(value)["text"] == EXAMPLES[0]["text"]


def test_a_class_that_is_no_text_and_a_text_that_is_none_come_back_as_a_sentence(page):
    for call in (
        lambda: page.predict(3),
        lambda: page.trace(None),
        lambda: page.trace("oil", 3),
        lambda: page.word_order(["oil"]),
        lambda: page.two_sentences("oil", {"a": "b"}),
        lambda: page.referee("oil", "seven"),
    ):
        with pytest.raises(gr.Error) as told:
            call()
        assert told.value.message.endswith(".")
        assert not told.value.print_exception


def test_what_is_imported_to_show_a_classifier_is_little_more_than_torch_gradio_and_torchtext():
    # torch's compiler alone would take a third of the time that the page takes to start.
    code = "import sys, app; app.build(app.Page(app.load_classifiers(app.BUNDLED))); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    imported = {name.split(".")[0] if name.split(".")[0] != "torch" else name for name in done.stdout.split()}
    assert {"torch", "gradio", "torchtext"} <= imported
    assert not imported & {"torch._dynamo", "torch._inductor", "sympy", "matplotlib", "spaces", "playwright"}


@pytest.mark.parametrize(("set_to", "disabled"), [(None, True), ("0", False)])
def test_the_hub_is_asked_the_plain_way_unless_the_operator_says_otherwise(set_to, disabled):
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_DISABLE_XET"}
    environment |= {"HF_HUB_DISABLE_XET": set_to} if set_to else {}
    for program in ("import app", "import sys, train; sys.argv = ['train.py', '--data', 'nowhere']; train.main()"):
        code = f"""
try:
    {program}
except SystemExit:
    pass
from huggingface_hub import constants
print("disabled:", constants.HF_HUB_DISABLE_XET)
"""
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
        assert f"disabled: {disabled}" in done.stdout, done.stderr


def test_a_sentence_is_read_by_one_thread_whatever_the_machine_has():
    code = """
import sys, threading, torch, app
def serve(*_, **__):
    reader = threading.Thread(target=lambda: print("threads:", torch.get_num_threads()))
    reader.start()
    reader.join()
app.serve = serve
sys.argv = ["app.py", "--port", sys.argv[1]]
app.main()
"""
    command = [sys.executable, "-c", code, str(free_port())]
    environment = {**os.environ, "OMP_NUM_THREADS": "8"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert "threads: 1" in done.stdout


def test_a_component_has_the_one_event_of_its_script_and_no_other_made_up_attribute(page):
    viewer = TraceViewer(page.payload("oil"), examples=[])
    assert callable(viewer.read)
    with pytest.raises(AttributeError, match="TraceViewer has no attribute 'value_of'"):
        _ = viewer.value_of


def test_help_reads_like_a_manual():
    done = run("--help")
    assert done.returncode == 0
    for line in ("--models MODEL [MODEL ...]", "--root-path PATH", "UNROLLED_MODELS=OWNER/a,OWNER/b python app.py"):
        assert line in done.stdout
