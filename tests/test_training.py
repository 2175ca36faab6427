"""Fitting and evaluating on a tiny corpus."""

from __future__ import annotations

import json
import math
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from corpora import write_corpus, write_vectors
from torch import Tensor

from model import RECIPES, UserError, training
from model.classifier import Classifier, pick_device, wilson
from model.config import Recipe, TrainingConfig
from model.corpus import Corpus, Dataset, EncodedRows, prepare, read_corpus
from model.network import RecurrentNetwork
from model.text import PADDING_INDEX, UNKNOWN_INDEX, read_vectors
from model.training import Stop, evaluate, fit


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Steps this small only wait for a second thread, for seconds where the machine is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def corpus(directory: Path) -> Corpus:
    return read_corpus(directory)


@pytest.fixture(scope="module")
def data(corpus: Corpus) -> Dataset:
    return prepare(corpus, TrainingConfig(validation_share=0.1))


def small(name: str = "notebook-lstm-packed", **changes: Any) -> Recipe:
    """A recipe scaled down to the tiny corpus."""
    recipe = RECIPES[name]
    scaled = {"epochs": 2, "batch_size": 32, "learning_rate": 5e-3, "average_decay": 0.0, "vectors": None}
    return replace(recipe, training=replace(recipe.training, **(scaled | changes)))


def weights(classifier: Classifier) -> dict[str, Tensor]:
    return classifier.network.state_dict()


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def rounded(network: RecurrentNetwork) -> dict[str, Tensor]:
    return {name: weight.detach().half().float() for name, weight in network.state_dict().items()}


# -------------------------------------------------------------------------------------------------------------- recipes


def test_the_recipes_are_the_products_and_the_notebooks() -> None:
    assert list(RECIPES) == [
        "rnn",
        "lstm",
        "gru",
        "notebook-rnn",
        "notebook-lstm",
        "notebook-lstm-packed",
        "notebook-rnn-glove",
    ]
    # The cell is the only difference between the two that are shown side by side.
    assert replace(RECIPES["rnn"].network, cell="lstm") == RECIPES["lstm"].network
    for name, recipe in RECIPES.items():
        if name.startswith("notebook"):
            assert (recipe.training.epochs, recipe.training.batch_size, recipe.training.learning_rate) == (1, 16, 1e-3)
            assert not recipe.training.repair
            assert not recipe.training.lazy  # Adam as it was there


@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_learns(name: str, corpus: Corpus, tmp_path: Path) -> None:
    average = 0.9 if RECIPES[name].training.average_decay else 0.0
    recipe = small(name, epochs=10, batch_size=16, average_decay=average, validation_share=0.1)
    data = prepare(corpus, recipe.training)
    vectors = None
    if RECIPES[name].training.vectors:
        vectors = read_vectors(write_vectors(tmp_path / "vectors.txt"), data.vocabulary)
    classifier = fit(recipe, data, vectors=vectors)
    assert classifier.record["test"]["accuracy"] >= 0.95
    assert classifier.record["curves"][-1]["train_loss"] < classifier.record["curves"][0]["train_loss"]
    config = classifier.network.config
    assert (config.cell, config.readout, config.padding, config.packed) == (
        RECIPES[name].network.cell,
        RECIPES[name].network.readout,
        RECIPES[name].network.padding,
        RECIPES[name].network.packed,
    )
    if config.padding == "ignored":
        (row,) = classifier.predict(["the striker scored a goal in the playoff"])
        assert classifier.labels[row.argmax()] == "Sports"


# ------------------------------------------------------------------------------------------------------------- the same


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "notebook-rnn"])
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(name: str, data: Dataset) -> None:
    recipe = small(name, average_decay=0.9)
    first = fit(recipe, data, seed=1)
    torch.rand(7)  # whatever else draws random numbers
    assert equal(weights(first), weights(fit(recipe, data, seed=1)))
    assert not equal(weights(first), weights(fit(recipe, data, seed=2)))


@pytest.mark.parametrize("name", ["rnn", "notebook-lstm-packed"])
def test_weights_are_numbers_that_half_precision_holds(name: str, data: Dataset) -> None:
    classifier = fit(small(name), data)
    for weight in weights(classifier).values():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, weight.half().float())
    # The test figures are those of the rounded weights.
    again = evaluate(classifier.network, data.test)
    assert again == classifier.record["test"]


def test_a_classifier_is_ready_to_be_asked(data: Dataset) -> None:
    classifier = fit(small("rnn"), data)
    assert not classifier.network.training
    assert classifier.labels == data.labels
    assert classifier.vocabulary is data.vocabulary
    texts = ["shares fell", "the coach said"]
    assert torch.equal(classifier.predict(texts), classifier.predict(texts))


# --------------------------------------------------------------------------------------------------------------- choice


@pytest.mark.parametrize(
    ("accuracies", "best"),
    [([0.5, 0.9, 0.7, 0.6], 2), ([0.9, 0.5, 0.5, 0.5], 1), ([0.1, 0.2, 0.3, 0.4], 4), ([0.5, 0.8, 0.8, 0.7], 3)],
)
@pytest.mark.parametrize("average_decay", [0.0, 0.9])
def test_the_weights_of_the_best_validation_epoch_are_kept(
    monkeypatch: pytest.MonkeyPatch, data: Dataset, accuracies: list[float], best: int, average_decay: float
) -> None:
    seen = []

    def scripted(network: RecurrentNetwork, rows: EncodedRows) -> dict[str, Any]:
        if len(rows) == len(data.test):
            return evaluate(network, rows)
        seen.append(rounded(network))
        return evaluate(network, rows) | {"accuracy": accuracies[len(seen) - 1]}

    monkeypatch.setattr(training, "evaluate", scripted)
    classifier = fit(small(epochs=4, average_decay=average_decay), data)
    assert classifier.record["best_epoch"] == best
    assert [point["validation_accuracy"] for point in classifier.record["curves"]] == accuracies
    assert equal(weights(classifier), seen[best - 1])
    assert not equal(seen[0], seen[1])


def test_without_held_out_rows_the_last_epoch_is_kept(corpus: Corpus) -> None:
    recipe = small(epochs=3, validation_share=0.0)
    record = fit(recipe, prepare(corpus, recipe.training)).record
    assert record["best_epoch"] == 3
    assert "validation_accuracy" not in record["curves"][0]
    assert record["rows"] == {"train": 600, "validation": 0, "test": 100}


def test_the_test_rows_are_read_once_at_the_end_and_choose_nothing(
    monkeypatch: pytest.MonkeyPatch, data: Dataset
) -> None:
    read = []

    def watched(network: RecurrentNetwork, rows: EncodedRows) -> dict[str, Any]:
        read.append("test" if len(rows) == len(data.test) else "validation")
        return evaluate(network, rows)

    monkeypatch.setattr(training, "evaluate", watched)
    first = fit(small(epochs=3), data)
    assert read == ["validation"] * 3 + ["test"]
    other = replace(data, test=replace(data.test, classes=(data.test.classes + 1) % 4))
    assert equal(weights(first), weights(fit(small(epochs=3), other)))


@pytest.mark.parametrize("lazy", [True, False])
def test_the_average_of_the_weights_is_the_moving_one(data: Dataset, lazy: bool) -> None:
    torch.manual_seed(0)
    recipe = small(average_decay=0.75, weight_decay=0.5, lazy=lazy)
    network = RecurrentNetwork(training._sized(recipe.network, data, None))
    run = training._Run(network, data.train, recipe.training, 0, Stop(), None)
    average: dict[str, Tensor] = {}
    for step in range(4):
        run.step(torch.arange(step * 32, step * 32 + 32))
        if run.words is not None:
            run.words.settle()
        for name, weight in network.state_dict().items():
            average[name] = weight.clone() if step == 0 else 0.75 * average[name] + 0.25 * weight
    for name, weight in run.kept.state_dict().items():
        torch.testing.assert_close(weight, average[name], rtol=0, atol=1e-6)
    assert not torch.allclose(run.kept.linear.weight, network.linear.weight, atol=1e-4)


def test_without_an_average_the_weights_themselves_are_kept(data: Dataset) -> None:
    network = RecurrentNetwork(training._sized(small().network, data, None))
    run = training._Run(network, data.train, small().training, 0, Stop(), None)
    assert run.kept is network


# ---------------------------------------------------------------------------------------------------------------- steps


def test_the_one_cycle_schedule_rises_and_ends_at_nothing(data: Dataset) -> None:
    recipe = small("lstm", epochs=2, learning_rate=0.01, warmup=0.25)
    run = training._Run(
        RecurrentNetwork(training._sized(recipe.network, data, None)), data.train, recipe.training, 0, Stop(), None
    )
    rates = []

    def step(rows: Tensor) -> Tensor:
        rates.append(run.optimizer.param_groups[0]["lr"])
        return training._Run.step(run, rows)

    run.step = step  # type: ignore[method-assign]
    run.epoch(1)
    run.epoch(2)
    peak = rates.index(max(rates))
    assert len(rates) == 34  # 540 rows in batches of 32, twice
    assert max(rates) == pytest.approx(0.01, rel=0.02)
    assert peak in (7, 8)  # a quarter of the way
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] < 1e-4


def begin(recipe: Recipe, data: Dataset) -> training._Run:
    torch.manual_seed(0)
    network = RecurrentNetwork(training._sized(recipe.network, data, None))
    return training._Run(network, data.train, recipe.training, 0, Stop(), None)


@pytest.mark.parametrize("lazy", [True, False])
def test_a_gradient_is_cut_to_the_norm_that_was_set(data: Dataset, lazy: bool) -> None:
    norms = []
    for clip_norm in (0.0, 1e-3):
        run = begin(small(clip_norm=clip_norm, lazy=lazy), data)
        run.step(torch.arange(32))
        words = run.network.embedding.weight if run.words is None else run.words.rows
        gradients = [weight.grad.norm() for weight in (*run.weights, words) if weight.grad is not None]
        norms.append(float(torch.stack(gradients).norm()))
    assert norms[0] > 1e-2
    assert norms[1] == pytest.approx(1e-3, rel=0.01)


@pytest.mark.parametrize("padding", ["ignored", "read"])
@pytest.mark.parametrize("name", ["rnn", "lstm"])
def test_a_first_step_is_adams_for_the_words_that_it_reads(name: str, padding: str, data: Dataset) -> None:
    changes = {"weight_decay": 0.1, "clip_norm": 0.5, "average_decay": 0.9}
    networks = []
    for lazy in (True, False):
        recipe = small(name, lazy=lazy, **changes)
        run = begin(replace(recipe, network=replace(recipe.network, padding=padding)), data)
        run.step(torch.arange(32))
        networks.append(run.kept.state_dict())
    for key, weight in networks[0].items():
        torch.testing.assert_close(weight, networks[1][key], rtol=0, atol=1e-6)


def test_a_word_that_no_step_reads_only_decays(data: Dataset) -> None:
    run = begin(small(weight_decay=0.1, lazy=True), data)
    before = run.network.embedding.weight.detach().clone()
    rows = torch.arange(4)
    rests = torch.ones(len(before), dtype=torch.bool)
    rests[run.train.batch(rows)[0]] = False
    rests[[UNKNOWN_INDEX, PADDING_INDEX]] = False
    assert 5 < rests.sum() < len(rests) - 5
    for _ in range(3):
        run.step(rows)
    after = run.kept.embedding.weight.detach()
    decayed = before * (1 - 5e-3 * 0.1) ** 3
    torch.testing.assert_close(after[rests], decayed[rests])
    rests[[UNKNOWN_INDEX, PADDING_INDEX]] = True
    assert not torch.isclose(after[~rests], decayed[~rests]).any()
    assert after[PADDING_INDEX].count_nonzero() == 0


def test_progress_is_told_to_the_end_of_each_epoch(data: Dataset) -> None:
    told: list[tuple[int, int, int, float, float]] = []
    classifier = fit(small(batch_size=8), data, progress=lambda *state: told.append(state))
    for epoch in (1, 2):
        seen = [state[1] for state in told if state[0] == epoch]
        assert seen == sorted(seen)
        assert len(seen) > 2
        assert seen[-1] == 540
    _, _, rows, loss, accuracy = told[-1]
    assert rows == 540
    assert classifier.record["curves"][-1]["train_loss"] == round(loss, 4)
    assert classifier.record["curves"][-1]["train_accuracy"] == round(accuracy, 4)


def test_a_loss_that_is_no_number_is_refused_with_the_way_out(data: Dataset) -> None:
    broken = torch.tensor([5]), torch.full((1, 8), math.nan)
    with pytest.raises(UserError, match=r"The loss is nan in epoch 1: lower the learning rate with --lr\."):
        fit(small(), data, vectors=broken)


def test_the_embedding_starts_from_the_vectors_that_are_given(
    monkeypatch: pytest.MonkeyPatch, data: Dataset, tmp_path: Path
) -> None:
    indices, values = read_vectors(write_vectors(tmp_path / "vectors.txt", size=8), data.vocabulary)
    assert len(indices) == 24
    started = []

    class Watched(training._Run):
        def __init__(self, network: RecurrentNetwork, *rest: Any) -> None:
            started.append(network.embedding.weight.detach().clone())
            super().__init__(network, *rest)

    monkeypatch.setattr(training, "_Run", Watched)
    classifier = fit(small("notebook-rnn-glove"), data, vectors=(indices, values))
    assert torch.equal(started[0][indices], values)
    assert classifier.network.config.embedding_dim == 8  # the vectors' size, whatever the recipe says
    others = torch.tensor([i for i in range(2, len(data.vocabulary)) if i not in indices.tolist()])
    assert 0.5 < float(started[0][others].std() / values.std()) < 2


# ------------------------------------------------------------------------------------------------------------- stopping


def interrupt_at(epoch: int, times: int = 1) -> Callable[..., None]:
    """Presses Ctrl-C in the middle of an epoch."""
    left = [times]

    def progress(number: int, seen: int, rows: int, loss: float, accuracy: float) -> None:
        if number == epoch and left[0]:
            left[0] -= 1
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)

    return progress


def test_an_interruption_keeps_the_best_epoch_so_far(data: Dataset) -> None:
    before = signal.getsignal(signal.SIGINT)
    whole = fit(small(epochs=2, batch_size=8), data)
    stopped = fit(small(epochs=9, batch_size=8), data, progress=interrupt_at(3))
    assert stopped.record["interrupted"] is True
    assert whole.record["interrupted"] is False
    assert [point["epoch"] for point in stopped.record["curves"]] == [1, 2]
    assert stopped.record["best_epoch"] == 2
    assert equal(weights(stopped), weights(whole))
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interruption_of_the_first_epoch_keeps_the_weights_as_they_stand(data: Dataset) -> None:
    stopped = fit(small(epochs=9, batch_size=8), data, progress=interrupt_at(1))
    assert stopped.record["interrupted"] is True
    assert stopped.record["best_epoch"] == 0
    assert len(stopped.record["curves"]) == 1
    assert stopped.record["test"]["rows"] == 100


def test_an_interruption_between_epochs_of_a_single_batch_stops_too(data: Dataset) -> None:
    stopped = fit(small(epochs=500, batch_size=1000), data, progress=interrupt_at(2))
    assert stopped.record["interrupted"] is True
    assert len(stopped.record["curves"]) <= 3
    assert stopped.record["best_epoch"] >= 1


def test_a_second_interruption_stops_at_once(data: Dataset) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(small(epochs=9, batch_size=8), data, progress=interrupt_at(2, times=2))
    assert signal.getsignal(signal.SIGINT) is before


def test_training_runs_in_a_thread_that_no_signal_reaches(data: Dataset) -> None:
    done = []
    thread = threading.Thread(target=lambda: done.append(fit(small(), data)))
    thread.start()
    thread.join(60)
    assert done
    assert done[0].record["interrupted"] is False


# ------------------------------------------------------------------------------------------------------ figures, record


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [
        (8, 10, 0.4902, 0.9433),  # by hand from Wilson's formula with z = 1.96
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (6992, 7600, 0.9137, 0.9259),
    ],
)
def test_the_wilson_interval_is_wilsons(correct: int, total: int, low: float, high: float) -> None:
    assert wilson(correct, total) == pytest.approx((low, high), abs=1e-4)


@torch.no_grad()
def test_evaluation_counts_what_was_predicted_for_each_true_class(data: Dataset) -> None:
    network = RecurrentNetwork(training._sized(small().network, data, None))
    for weight in network.parameters():
        weight.zero_()
    network.linear.bias[2] = 1.0  # whatever is read, the third class
    result = evaluate(network, data.test)
    assert result["confusion"] == [[0, 0, 25, 0]] * 4
    assert result["accuracy"] == 0.25
    assert result["interval"] == wilson(25, 100)
    assert result["rows"] == 100
    mean = math.log(3 + math.e) - 0.25  # a quarter of the rows is of the class whose logit is 1
    assert result["loss"] == pytest.approx(mean, abs=1e-4)


def test_the_record_says_how_the_weights_came_about(data: Dataset) -> None:
    recipe = small("lstm", epochs=2)
    record = fit(recipe, data, seed=5).record
    assert json.loads(json.dumps(record, allow_nan=False))["training"]["batch_size"] == 32
    assert record["recipe"] == "lstm"
    assert record["seed"] == 5
    assert record["digests"] == data.digests
    assert record["rows"] == {"train": 540, "validation": 60, "test": 100}
    assert record["versions"]["torch"] == torch.__version__
    assert record["processes"] == 1
    assert record["rows_per_second"] > 0


@pytest.mark.parametrize("name", ["cuda:99", "gpu", "", "meta", "cpu:7"])
def test_a_device_that_is_not_there_is_refused_by_name(name: str) -> None:
    with pytest.raises(UserError, match=f"There is no device {name!r} here; there is cpu"):
        pick_device(name)


def test_the_device_is_the_processor_where_there_is_no_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: None)
    assert pick_device() == pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("schedule", "cosine"),
        ("validation_share", 0.6),
        ("min_frequency", 0),
        ("max_vocabulary", 0),
    ],
)
def test_a_training_that_cannot_be_is_refused_by_the_name_of_its_field(field: str, value: object) -> None:
    with pytest.raises(UserError, match=f"{field} is {value!r}; it must be"):
        TrainingConfig(**{field: value})  # type: ignore[arg-type]
