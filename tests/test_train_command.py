"""`python train.py`, as a person runs it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from corpora import write_corpus, write_vectors

import train
from model import load
from model.training import interruptible

ROOT = Path(__file__).parents[1]
# One thread: steps this small only wait for a second one. No width: the help wraps as on a wide terminal.
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")},
    "OMP_NUM_THREADS": "1",
    "COLUMNS": "120",
    "PYTHONUNBUFFERED": "1",
}
TIMEOUT = 180  # seconds; a run takes five, a busy machine stretches it


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("made-up news") / "my_topics", train=400, test=60)


def command(*arguments: object) -> list[str]:
    return [sys.executable, str(ROOT / "train.py"), *map(str, arguments)]


def run(*arguments: object, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=cwd, env=ENVIRONMENT | environment, capture_output=True, text=True, timeout=TIMEOUT
    )


def table(output: str) -> list[list[str]]:
    """The cells of the table at the end."""
    lines = output.rstrip().splitlines()
    begin = max(i for i, line in enumerate(lines) if line.startswith("recipe "))
    return [re.split(r"\s{2,}", line) for line in lines[begin:]]


# ----------------------------------------------------------------------------------------------------------------- help


def test_the_help_reads_like_a_manual() -> None:
    done = run("--help")
    assert done.returncode == 0
    lines = [line.strip() for line in done.stdout.splitlines()]
    for line in (
        "Train recurrent text classifiers, and put them on the Hugging Face Hub.",
        "python train.py --data my_corpus/                 on your own text",
        "torchrun --standalone --nproc-per-node 2 train.py in two processes: the same steps, shared out",
        "Ctrl-C keeps the best epoch so far; a second one stops at once.",
        "To push, log in first: hf auth login, or set HF_TOKEN.",
        "recipes:",
        "rnn                   simple (Elman) RNN, last state",
        "lstm                  LSTM, last state",
        "notebook-rnn          the notebook's RNN: mean over all outputs, padding included",
        "notebook-lstm         the notebook's LSTM: final state, read after the padding",
    ):
        assert line in lines
    options = ["recipe", "data", "out", "epochs", "batch-size", "lr", "seed", "limit", "device", "vectors"]
    options += ["push-to-hub", "private", "debug"]
    for option in options:
        # Each option stands with a sentence of its own.
        assert re.search(rf"^  --{option}( [A-Z]+| \[?[A-Z. \[\]]+)?\s+\S.+", done.stdout, re.MULTILINE), option
    assert all(len(line) <= 120 for line in done.stdout.splitlines())


def test_the_manual_names_each_recipe() -> None:
    from model import RECIPES

    listed = run("--help").stdout.split("recipes:\n")[1]
    assert [line.split()[0] for line in listed.splitlines()] == list(RECIPES)


# ---------------------------------------------------------------------------------------------------------------- a run


def test_a_run_trains_both_saves_them_and_ends_with_a_table(data: Path, tmp_path: Path) -> None:
    done = run("--data", data, "--epochs", 2, "--batch-size", 32, "--seed", 3, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    heading, rnn, lstm = table(done.stdout)
    assert heading == ["recipe", "test accuracy", "parameters", "rows/s", "seconds", "saved"]
    for name, cells in (("rnn", rnn), ("lstm", lstm)):
        classifier = load(tmp_path / "checkpoints" / name)
        assert cells[0] == name
        assert cells[2] == f"{classifier.parameters:,}"
        assert cells[5] == f"checkpoints/{name}"
        record = classifier.record
        low, high = record["test"]["interval"]
        assert cells[1] == f"{record['test']['accuracy']:.2%} ({low:.1%} to {high:.1%})"
        assert record["seed"] == 3
        assert len(record["curves"]) == 2
        assert record["rows"] == {"train": 380, "validation": 20, "test": 60}
        assert record["corpus"] == "agnews"  # the same classes
        assert classifier.network.config.cell == name
    assert re.search(r"rnn 1/2: 100%.*380/380.*rows/s.*loss \d\.\d+, accuracy \d\.\d+", done.stderr)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["lstm", "rnn"]


def test_options_reach_the_training(data: Path, tmp_path: Path) -> None:
    vectors = write_vectors(tmp_path / "vectors.txt", size=8)
    done = run(
        *("--data", data, "--out", tmp_path / "out", "--recipe", "notebook-rnn-glove", "--vectors", vectors),
        *("--limit", 100, "--epochs", 3, "--batch-size", 10, "--lr", 0.02, "--device", "cpu"),
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"vectors\.txt: vectors for 24 of \d+ words\.", done.stdout)
    classifier = load(tmp_path / "out" / "notebook-rnn-glove")
    training = classifier.record["training"]
    assert (training["epochs"], training["batch_size"], training["learning_rate"]) == (3, 10, 0.02)
    assert classifier.record["rows"]["train"] == 95
    assert classifier.network.config.embedding_dim == 8


def test_a_corpus_of_other_classes_is_named_after_its_directory(tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "My two topics!", train=60, test=20, classes=2)
    done = run("--data", data, "--out", tmp_path / "out", "--recipe", "gru", "--epochs", 1)
    assert done.returncode == 0, done.stderr
    classifier = load(tmp_path / "out" / "gru")
    assert classifier.record["corpus"] == "My-two-topics"
    assert classifier.labels == ("World", "Sports")


# --------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--recipe", "transformer"], r"There is no recipe 'transformer'; there is rnn, lstm, gru, notebook-rnn.*"),
        (["--recipe", "rnn", "elman"], r"There is no recipe 'elman'.*"),
        (["--device", "cuda:99"], r"There is no device 'cuda:99' here; there is cpu.*"),
        (["--data", "/nowhere/at/all"], r"/nowhere/at/all/classes\.txt cannot be read \(No such file or directory\).*"),
        (["--epochs", "0"], r"epochs is 0; it must be a whole number from 1 to .*"),
        (["--batch-size", "-1"], r"batch_size is -1; it must be .*"),
        (["--lr", "nan"], r"learning_rate is nan; it must be .*"),
        (["--limit", "0"], r"--limit is 0; give the number of rows to train on\."),
        (["--limit", "2"], r"2 training rows are too few.*"),
        (["--vectors", "missing.txt"], r"There are no word vectors at 'missing\.txt'.*--vectors FILE\."),
        (["--vectors", "README.md"], r"README\.md:\d+: .*"),
    ],
)
def test_a_mistake_ends_in_one_sentence(data: Path, tmp_path: Path, arguments: list[str], sentence: str) -> None:
    given = [] if "--data" in arguments else ["--data", data]
    done = run(*given, "--out", tmp_path / "out", "--recipe", "rnn", *arguments, XDG_CACHE_HOME=str(tmp_path))
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(sentence + "\n", done.stderr)
    assert not (tmp_path / "out").exists()


def test_debug_shows_where_a_mistake_came_to_light(data: Path) -> None:
    done = run("--data", data, "--recipe", "transformer", "--debug")
    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr
    assert done.stderr.rstrip().splitlines()[-1].startswith("model.config.UserError: There is no recipe 'transformer'")


def test_a_wrong_row_is_named_before_anything_is_trained(tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "corpus", train=20, test=20)
    with open(data / "test.csv", "a") as file:
        file.write("7,a class too many\n")
    done = run("--data", data, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.startswith(f"{data / 'test.csv'}:21: the class index is '7'")
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_named(data: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    done = run("--data", data, "--out", tmp_path / "out", "--recipe", "rnn", "--epochs", 1)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(tmp_path / "out") in done.stderr.splitlines()[-1]
    assert (tmp_path / "out").read_text() == "a file"


# ------------------------------------------------------------------------------------------------------------- stopping


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments), cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(running: subprocess.Popen[str], pattern: str) -> str:
    """Reads the progress bars until one looks like this.

    Returns:
        What was read.
    """
    assert running.stderr is not None
    read, end = "", time.monotonic() + TIMEOUT
    while not re.search(pattern, read):
        assert running.poll() is None, read
        assert time.monotonic() < end, read
        read += running.stderr.read(1)
    return read


def test_ctrl_c_keeps_the_best_epoch_says_so_and_starts_no_other_recipe(data: Path, tmp_path: Path) -> None:
    running = start("--data", data, "--out", tmp_path, "--batch-size", 4, "--epochs", 5000)
    try:
        wait_for(running, r"rnn 4/5000")
        running.send_signal(signal.SIGINT)
        output, errors = running.communicate(timeout=TIMEOUT)
    finally:
        running.kill()
    assert running.returncode == 0, errors
    record = load(tmp_path / "rnn").record
    assert record["interrupted"] is True
    assert 1 <= record["best_epoch"] <= len(record["curves"]) < 5000
    assert f"Stopped: rnn is as it was after epoch {record['best_epoch']}, its best so far." in output
    assert [cells[0] for cells in table(output)] == ["recipe", "rnn"]
    assert "Traceback" not in errors
    assert [path.name for path in tmp_path.iterdir()] == ["rnn"]


def test_ctrl_c_within_the_first_epoch_keeps_the_weights_as_they_stand(tmp_path: Path) -> None:
    many = write_corpus(tmp_path / "many", train=20_000, test=20)
    running = start("--data", many, "--out", tmp_path / "out", "--recipe", "lstm", "--batch-size", 2)
    try:
        wait_for(running, r"lstm 1/\d+: .* loss ")
        running.send_signal(signal.SIGINT)
        output, errors = running.communicate(timeout=TIMEOUT)
    finally:
        running.kill()
    assert running.returncode == 0, errors
    assert "Stopped: lstm is as it was when its first epoch was stopped." in output
    assert load(tmp_path / "out" / "lstm").record["best_epoch"] == 0


def test_a_second_ctrl_c_is_not_held_back() -> None:
    # In this process, where each signal arrives before the next line: in another one two may be one to the system.
    with interruptible() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_what_is_stopped_at_once_ends_without_a_traceback(monkeypatch, capsys) -> None:
    def stopped(args: object) -> None:
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(train, "run", stopped)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    try:
        with pytest.raises(SystemExit) as done:
            train.main()
    finally:
        signal.signal(signal.SIGINT, before)
    assert done.value.code == 130
    assert capsys.readouterr().err.rstrip().endswith("Stopped.")


# ------------------------------------------------------------------------------------------------------------ processes


LAUNCHER = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def torchrun(*arguments: object) -> list[str]:
    return [*LAUNCHER, *command(*arguments)[1:]]


def in_two_processes(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        torchrun(*arguments),
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


def assert_same(one: Path, two: Path) -> None:
    """Whether one process and two came to the same weights."""
    first, second = load(one), load(two)
    assert (first.record["processes"], second.record["processes"]) == (1, 2)
    assert first.record["digests"] == second.record["digests"]
    compared = second.network.state_dict()
    for name, weight in first.network.state_dict().items():
        # Stored in half precision: a difference in the last bit of single precision may round to another neighbour.
        spacing = (weight.abs() * 2**-10).clamp(min=2**-24)
        assert (compared[name] - weight).abs().le(1e-4 + spacing).all(), name


@pytest.mark.parametrize(
    ("recipe", "limit"),
    [
        ("notebook-lstm-packed", 90),
        ("notebook-lstm-packed", 85),  # 81 rows to train on: in batches of 16, the last one is of a single row
        ("notebook-lstm", 85),  # padding that is read must be the whole batch's
    ],
)
def test_two_processes_take_the_steps_of_one(data: Path, tmp_path: Path, recipe: str, limit: int) -> None:
    options = ["--data", data, "--recipe", recipe, "--limit", limit, "--epochs", 3, "--lr", 0.01]
    two = in_two_processes(*options, "--out", tmp_path / "two")
    one = run(*options, "--out", tmp_path / "one")
    assert one.returncode == 0, one.stderr
    assert two.returncode == 0, two.stderr
    assert_same(tmp_path / "one" / recipe, tmp_path / "two" / recipe)
    # Rank 0 alone prints.
    assert two.stdout.count("test accuracy") == 1
    assert len(re.findall(rf"{recipe} 1/3: 100%", two.stderr)) == len(re.findall(rf"{recipe} 1/3: 100%", one.stderr))


WITHOUT_DROPOUT = """
import sys
from dataclasses import replace

sys.path.insert(0, sys.argv.pop(1))
import train
from model import RECIPES

kept = {"word_dropout": 0.0, "embedding_dropout": 0.0, "readout_dropout": 0.0}
for name, recipe in RECIPES.items():
    RECIPES[name] = replace(recipe, network=replace(recipe.network, **kept))
train.main()
"""


@pytest.mark.parametrize("recipe", ["rnn", "lstm"])
def test_two_processes_train_the_word_vectors_that_one_does(data: Path, tmp_path: Path, recipe: str) -> None:
    script = tmp_path / "without_dropout.py"  # each process drops others
    script.write_text(WITHOUT_DROPOUT)
    options = ["--data", data, "--recipe", recipe, "--limit", 85, "--epochs", 3, "--batch-size", 16, "--lr", 0.01]
    for launcher, out in (([sys.executable], "one"), (LAUNCHER, "two")):
        words = [*launcher, script, ROOT, *options, "--out", tmp_path / out]
        done = subprocess.run(
            list(map(str, words)), cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=TIMEOUT
        )
        assert done.returncode == 0, done.stderr
    assert_same(tmp_path / "one" / recipe, tmp_path / "two" / recipe)


def test_ctrl_c_in_two_processes_keeps_the_best_epoch(data: Path, tmp_path: Path) -> None:
    options = ["--data", data, "--out", tmp_path, "--recipe", "rnn", "--batch-size", 4, "--epochs", 5000]
    running = subprocess.Popen(
        torchrun(*options),
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for(running, r"rnn 4/5000")
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does; torchrun sends it to both once more
        output, errors = running.communicate(timeout=TIMEOUT)
    finally:
        running.kill()
    record = load(tmp_path / "rnn").record
    assert (record["interrupted"], record["processes"]) == (True, 2)
    assert record["best_epoch"] >= 1
    assert f"Stopped: rnn is as it was after epoch {record['best_epoch']}, its best so far." in output, errors


def test_a_place_that_holds_something_else_is_named_before_the_training(data: Path, tmp_path: Path) -> None:
    (tmp_path / "lstm").mkdir()
    (tmp_path / "lstm" / "thesis.txt").write_text("precious")
    done = run("--data", data, "--out", tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("thesis.txt") == 1
    assert "rnn" not in done.stderr  # no bar of the first recipe: nothing was trained
    assert (tmp_path / "lstm" / "thesis.txt").read_text() == "precious"


def test_of_two_processes_one_names_the_mistake(data: Path, tmp_path: Path) -> None:
    done = in_two_processes("--data", data, "--recipe", "transformer", "--out", tmp_path)
    assert done.returncode != 0
    assert done.stderr.count("There is no recipe 'transformer'") == 1
    done = in_two_processes("--data", "/nowhere", "--out", tmp_path)
    assert done.returncode != 0
    assert done.stderr.count("/nowhere/classes.txt cannot be read") == 1


def test_a_record_in_a_saved_directory_is_plain_json(data: Path, tmp_path: Path) -> None:
    done = run("--data", data, "--out", tmp_path, "--recipe", "rnn", "--epochs", 1)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "rnn" / "training.json").read_text())
    assert record["recipe"] == "rnn"
    assert sum(map(sum, record["test"]["confusion"])) == 60
