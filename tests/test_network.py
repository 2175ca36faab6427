"""The network: what padding may not change, how states are read, how weights begin."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small import SHIPPED, named, random_classifier
from torch import Tensor

from model.classifier import Classifier
from model.config import CELLS, READOUTS, NetworkConfig, UserError
from model.network import RecurrentNetwork, read_out, read_out_prefixes
from model.text import PADDING_INDEX, UNKNOWN_INDEX

LENGTHS = (5, 1, 12, 0, 7, 256)  # tokens; an empty row and the longest are among them


def network(cell: str = "lstm", **config: object) -> RecurrentNetwork:
    torch.manual_seed(0)
    sizes = {"vocabulary_size": 30, "num_classes": 4, "embedding_dim": 6, "hidden_dim": 8}
    made = RecurrentNetwork(NetworkConfig(cell=cell, **(sizes | config))).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        made.linear.weight.mul_(4)  # verdicts far apart, so that a wrong state shows
    return made


def batch(lengths: tuple[int, ...] = LENGTHS, width: int | None = None) -> tuple[Tensor, Tensor]:
    """Random rows, padded."""
    generator = torch.Generator().manual_seed(1)
    count = torch.tensor(lengths)
    tokens = torch.randint(2, 30, (len(lengths), width or max(lengths)), generator=generator)
    return tokens.masked_fill(torch.arange(tokens.shape[1]) >= count.unsqueeze(1), PADDING_INDEX), count


every_network = pytest.mark.parametrize(
    ("cell", "readout"), [(cell, readout) for cell in CELLS for readout in READOUTS]
)


# ------------------------------------------------------------------------- padding, order and batch size change nothing


@every_network
@torch.no_grad()
def test_padding_changes_no_probability(cell: str, readout: str) -> None:
    made = network(cell, readout=readout)
    tokens, lengths = batch()
    together = made(tokens, lengths).softmax(1)
    assert together.std(0).max() > 0.05  # the rows differ, so that equality says something
    for row, length in enumerate(LENGTHS):
        alone = made(tokens[row : row + 1, : max(1, length)], lengths[row : row + 1]).softmax(1)
        torch.testing.assert_close(alone[0], together[row], rtol=0, atol=1e-5)
    wide = torch.nn.functional.pad(tokens, (0, 40), value=PADDING_INDEX)
    torch.testing.assert_close(made(wide, lengths).softmax(1), together, rtol=0, atol=1e-5)


@every_network
@torch.no_grad()
def test_what_stands_in_the_padding_does_not_matter(cell: str, readout: str) -> None:
    made = network(cell, readout=readout)
    tokens, lengths = batch()
    beyond = torch.arange(tokens.shape[1]) >= lengths.unsqueeze(1)
    other = torch.where(beyond, 7, tokens)
    torch.testing.assert_close(made(other, lengths), made(tokens, lengths), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", [f"{cell}-{readout}" for cell in CELLS for readout in READOUTS] + SHIPPED)
def test_order_and_batch_size_change_no_probability(name: str) -> None:
    classifier = named(name)
    texts = [
        " ".join(f"w{(i * j) % 320}" for i in range(j % 40)) for j in range(300)
    ]  # more than are predicted at once
    texts += ["stocks fell on monday", "", "<unk>", "word " * 400]
    together = classifier.predict(texts)
    assert together.shape == (304, len(classifier.labels))
    torch.testing.assert_close(together.sum(1), torch.ones(304))
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(2)).tolist()
    shuffled = classifier.predict([texts[i] for i in order])
    torch.testing.assert_close(shuffled, together[order], rtol=0, atol=1e-5)
    for row in (0, 1, 39, 299, 300, 301, 302, 303):
        torch.testing.assert_close(classifier.predict([texts[row]])[0], together[row], rtol=0, atol=1e-5)


@every_network
@torch.no_grad()
def test_packed_sequences_give_the_same_probabilities(cell: str, readout: str) -> None:
    made = network(cell, readout=readout)
    tokens, lengths = batch()
    padded = made(tokens, lengths)
    made.config = replace(made.config, packed=True)
    torch.testing.assert_close(made(tokens, lengths), padded, rtol=0, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
@torch.no_grad()
def test_the_padded_state_at_the_last_token_is_the_packed_final_state(cell: str) -> None:
    made = network(cell)
    tokens, lengths = batch((5, 1, 12, 7))
    vectors = made.embed(tokens)
    packed = torch.nn.utils.rnn.pack_padded_sequence(vectors, lengths, batch_first=True, enforce_sorted=False)
    final = made.recurrence(packed)[1]
    final = final[0] if cell == "lstm" else final
    torch.testing.assert_close(read_out(made.states(vectors, lengths), lengths, "last"), final[0], rtol=0, atol=1e-6)


@every_network
@pytest.mark.parametrize("packed", [False, True])
@torch.no_grad()
def test_an_empty_row_gives_the_bias_alone(cell: str, readout: str, packed: bool) -> None:
    made = network(cell, readout=readout, packed=packed)
    tokens, lengths = batch((0, 3, 0))
    logits = made(tokens, lengths)
    assert torch.equal(logits[0], made.linear.bias)
    assert torch.equal(logits[2], made.linear.bias)
    assert not torch.equal(logits[1], made.linear.bias)
    alone = made(torch.full((1, 1), PADDING_INDEX), torch.tensor([0]))
    assert torch.equal(alone[0], made.linear.bias)


@pytest.mark.parametrize("text", ["", "   ", '";:', "<br />"])
def test_a_text_of_no_tokens_is_answered_by_the_bias(text: str) -> None:
    classifier = random_classifier("lstm")
    bias = classifier.network.linear.bias.detach().softmax(0)
    torch.testing.assert_close(classifier.predict([text])[0], bias, rtol=0, atol=1e-6)


@pytest.mark.parametrize("text", ["!?", "🎉🎉", "股市下跌", "שלום עולם", "a\0b", "\ud800", "<script>alert(1)</script>"])
def test_any_text_is_answered_by_probabilities(text: str) -> None:
    (row,) = random_classifier("gru").predict([text])
    assert row.isfinite().all()
    assert row.sum().item() == pytest.approx(1, abs=1e-6)


def test_no_texts_get_no_rows_and_a_bare_text_is_a_mistake() -> None:
    classifier = random_classifier("rnn")
    assert classifier.predict([]).shape == (0, 4)
    with pytest.raises(TypeError, match="list of texts"):
        classifier.predict("stocks fell")


@pytest.mark.parametrize(("cell", "readout"), [("rnn", "mean"), ("lstm", "last")])
@torch.no_grad()
def test_padding_that_is_read_changes_the_verdict(cell: str, readout: str) -> None:
    made = network(cell, readout=readout, padding="read")
    tokens, lengths = batch((5,))
    wide = torch.nn.functional.pad(tokens, (0, 20), value=PADDING_INDEX)
    assert (made(wide, lengths).softmax(1) - made(tokens, lengths).softmax(1)).abs().max() > 0.01
    classifier = Classifier(made, random_classifier("rnn").vocabulary, ("a", "b", "c", "d"))
    alone, beside = classifier.predict(["w1 w2"]), classifier.predict(["w1 w2", "w3 " * 40])
    assert (alone[0] - beside[0]).abs().max() > 0.01


# ------------------------------------------------------------------------------------------------------------- readout


@torch.no_grad()
def test_read_outs_are_what_their_names_say() -> None:
    hidden = torch.tensor([[[1.0, -4.0], [3.0, -2.0], [9.0, 9.0]], [[5.0, 6.0], [9.0, 9.0], [9.0, 9.0]]])
    lengths = torch.tensor([2, 1])
    assert read_out(hidden, lengths, "last").tolist() == [[3, -2], [5, 6]]
    assert read_out(hidden, lengths, "mean").tolist() == [[2, -3], [5, 6]]
    assert read_out(hidden, lengths, "max").tolist() == [[3, -2], [5, 6]]
    assert read_out(hidden, torch.tensor([3, 2]), "max").tolist() == [[9, 9], [9, 9]]


@pytest.mark.parametrize("readout", READOUTS)
def test_the_readout_of_every_prefix_is_the_prefixs_own_readout(readout: str) -> None:
    hidden = torch.randn(1, 9, 5, generator=torch.Generator().manual_seed(0))
    prefixes = read_out_prefixes(hidden, readout)
    assert prefixes.shape == hidden.shape
    for t in range(9):
        alone = read_out(hidden[:, : t + 1], torch.tensor([t + 1]), readout)
        torch.testing.assert_close(prefixes[:, t], alone, rtol=0, atol=1e-6)
    torch.testing.assert_close(read_out_prefixes(hidden[0], readout), prefixes[0])


@pytest.mark.parametrize("readout", READOUTS)
def test_an_empty_row_sends_back_a_gradient_of_numbers(readout: str) -> None:
    made = network("lstm", readout=readout).train()
    tokens, lengths = batch((0, 4))
    made(tokens, lengths).logsumexp(1).sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in made.parameters())


# -------------------------------------------------------------------------------------------------------------- dropout


@pytest.mark.parametrize("kind", ["word_dropout", "embedding_dropout", "readout_dropout"])
@torch.no_grad()
def test_dropout_acts_in_training_alone(kind: str) -> None:
    made = network("gru", **{kind: 0.5})
    plain = network("gru")
    tokens, lengths = batch()
    assert torch.equal(made(tokens, lengths), plain(tokens, lengths))
    made.train()
    assert not torch.equal(made(tokens, lengths), plain(tokens, lengths))


@torch.no_grad()
def test_word_dropout_makes_its_share_of_words_unknown_and_touches_no_padding() -> None:
    made = network(word_dropout=0.25, embedding_dim=1)
    made.embedding.weight.copy_(torch.arange(30.0).unsqueeze(1))  # a word's vector is its index
    made.train()
    tokens, _ = batch((100, 4000))
    read = made.embed(tokens)[:, :, 0]
    padding = tokens == PADDING_INDEX
    assert torch.equal(read[padding], tokens[padding].float())
    unknown = read[~padding] == UNKNOWN_INDEX
    assert unknown.float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert torch.equal(read[~padding][~unknown], tokens[~padding][~unknown].float())


@torch.no_grad()
def test_embedding_dropout_takes_the_same_features_from_each_word_of_a_row() -> None:
    made = network(embedding_dropout=0.5, embedding_dim=64)
    made.embedding.weight.fill_(1.0)
    made.train()
    vectors = made.embed(torch.full((3, 5), 2))
    assert torch.equal(vectors, vectors[:, :1].expand_as(vectors))
    assert set(vectors.unique().tolist()) == {0.0, 2.0}
    assert not torch.equal(vectors[0], vectors[1])


# ----------------------------------------------------------------------------------------------------------- beginning


@pytest.mark.parametrize(("cell", "gates"), [("rnn", 1), ("lstm", 4), ("gru", 3)])
def test_recurrent_weights_begin_orthogonal_gate_by_gate(cell: str, gates: int) -> None:
    made = network(cell, initialization="orthogonal")
    parts = made.recurrence.weight_hh_l0.detach().split(8)
    assert len(parts) == gates
    for part in parts:
        torch.testing.assert_close(part @ part.T, torch.eye(8), rtol=0, atol=1e-5)
    plain = network(cell).recurrence.weight_hh_l0.detach()[:8]
    assert not torch.allclose(plain @ plain.T, torch.eye(8), atol=0.1)


def test_an_lstm_begins_by_remembering() -> None:
    recurrence = network("lstm", initialization="orthogonal").recurrence
    bias = (recurrence.bias_ih_l0 + recurrence.bias_hh_l0).detach()
    assert bias.tolist() == [0.0] * 8 + [1.0] * 8 + [0.0] * 16  # input, forget, candidate, output


def test_padding_has_no_vector_unless_it_is_read() -> None:
    assert network().embedding.weight[PADDING_INDEX].count_nonzero() == 0
    assert network(initialization="orthogonal").embedding.weight[PADDING_INDEX].count_nonzero() == 0
    assert network(padding="read").embedding.weight[PADDING_INDEX].count_nonzero() > 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cell", "transformer"),
        ("readout", "first"),
        ("padding", "some"),
        ("initialization", "zeros"),
        ("packed", 1),
        ("hidden_dim", 0),
        ("hidden_dim", True),
        ("embedding_dim", 1.5),
        ("num_classes", -1),
        ("word_dropout", 1.0),
        ("word_dropout", float("nan")),
    ],
)
def test_a_network_that_cannot_be_is_refused_by_the_name_of_its_field(field: str, value: object) -> None:
    with pytest.raises(UserError, match=f"{field} is {value!r}; it must be"):
        NetworkConfig(**{field: value})  # type: ignore[arg-type]


def test_a_network_without_a_corpus_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="come from a corpus"):
        RecurrentNetwork(NetworkConfig())
