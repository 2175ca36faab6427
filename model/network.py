"""The network: embedding -> RNN, LSTM or GRU -> readout -> linear.

Shapes, here and everywhere: B batch, T tokens, E embedding, H hidden units, C classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from model.config import NetworkConfig
from model.elman import elman
from model.text import PADDING_INDEX, UNKNOWN_INDEX

LAYERS: dict[str, type[nn.RNN | nn.LSTM | nn.GRU]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


EMBEDDING_SCALE = 0.05  # standard deviation of a word vector's features at the start, where the start is "orthogonal"


def read_out(hidden: Tensor, lengths: Tensor, readout: str) -> Tensor:
    """The state that the verdict is read from, padding left out.

    Args:
        hidden: `(B, T, H)`, h_t for every step.
        lengths: `(B,)`, tokens in each row; a row of none is read as the zero state.
        readout: "last" (h at the row's own last token), "mean" or "max" (over the row's tokens).

    Returns:
        `(B, H)`.
    """
    if readout == "last":
        last = (lengths - 1).clamp(min=0)
        state = hidden[torch.arange(len(hidden), device=hidden.device), last]
        return state * (lengths > 0).unsqueeze(1)
    inside = (torch.arange(hidden.shape[1], device=hidden.device) < lengths.unsqueeze(1)).unsqueeze(2)  # (B, T, 1)
    if readout == "mean":
        return (hidden * inside).sum(1) / lengths.clamp(min=1).unsqueeze(1)
    state = hidden.masked_fill(~inside, -torch.inf).amax(1)
    return torch.where((lengths > 0).unsqueeze(1), state, 0.0)


def read_out_prefixes(hidden: Tensor, readout: str) -> Tensor:
    """What `read_out` gives for each beginning of one sentence.

    Args:
        hidden: `(..., T, H)`.
        readout: "last", "mean" or "max".

    Returns:
        `(..., T, H)`: entry t reads the states 0 to t.
    """
    if readout == "last":
        return hidden
    if readout == "mean":
        count = torch.arange(1, hidden.shape[-2] + 1, device=hidden.device, dtype=hidden.dtype)
        return hidden.cumsum(-2) / count.unsqueeze(1)
    return hidden.cummax(-2).values


class RecurrentNetwork(nn.Module):
    """A recurrent text classifier.

    Args:
        config: its architecture; `vocabulary_size` and `num_classes` must be set.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        if config.vocabulary_size < 2 or config.num_classes < 1:
            raise ValueError("vocabulary_size and num_classes come from a corpus and must be set")
        self.config = config
        # Padding that is read is a word like any other, with a vector that learns.
        padding = PADDING_INDEX if config.padding == "ignored" else None
        vectors = torch.empty(config.vocabulary_size, config.embedding_dim)
        self.embedding = nn.Embedding.from_pretrained(vectors, freeze=False, padding_idx=padding)
        if not vectors.is_meta:  # drawing numbers that are not there imports torch's compiler: more than a second
            self.embedding.reset_parameters()
        self.recurrence = LAYERS[config.cell](config.embedding_dim, config.hidden_dim, batch_first=True)
        self.linear = nn.Linear(config.hidden_dim, config.num_classes)
        if config.initialization == "orthogonal" and not self.linear.weight.is_meta:
            self._orthogonal()

    @torch.no_grad()
    def _orthogonal(self) -> None:
        """Recurrent weights orthogonal, gate by gate (Saxe et al. 2014); forget bias 1 (Jozefowicz et al. 2015)."""
        hidden = self.config.hidden_dim
        input_weight, recurrent_weight, input_bias, recurrent_bias = self.recurrence.all_weights[0]
        # Small word vectors keep the units in their linear range at first: an orthogonal recurrence then carries
        # gradients over a whole sentence. With torch's N(0, 1) an RNN stayed at 65 %, where this reaches 90 %.
        self.embedding.weight.mul_(EMBEDDING_SCALE)
        for gate in recurrent_weight.split(hidden):
            nn.init.orthogonal_(gate)
        for gate in input_weight.split(hidden):
            nn.init.xavier_uniform_(gate)
        input_bias.zero_()
        recurrent_bias.zero_()
        if self.config.cell == "lstm":
            input_bias[hidden : 2 * hidden] = 1.0

    def embed(self, tokens: Tensor) -> Tensor:
        """Word vectors.

        Args:
            tokens: `(B, T)` indices.

        Returns:
            `(B, T, E)`.
        """
        if self.training and self.config.word_dropout > 0:
            dropped = torch.rand(tokens.shape, device=tokens.device) < self.config.word_dropout
            tokens = tokens.masked_fill(dropped & (tokens != PADDING_INDEX), UNKNOWN_INDEX)
        vectors = self.embedding(tokens)
        if self.training and self.config.embedding_dropout > 0:
            # One mask for all steps of a row (Gal and Ghahramani 2016); a mask a step took a quarter of the epoch.
            mask = F.dropout(torch.ones_like(vectors[:, :1]), self.config.embedding_dropout)  # (B, 1, E)
            vectors = vectors * mask
        return vectors

    def states(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        """Hidden states for every step; those beyond a row's length mean nothing.

        Args:
            vectors: `(B, T, E)`.
            lengths: `(B,)`.

        Returns:
            `(B, T, H)`.
        """
        if self.config.packed:
            packed = pack_padded_sequence(vectors, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
            return pad_packed_sequence(self.recurrence(packed)[0], batch_first=True, total_length=vectors.shape[1])[0]
        if self.config.cell == "rnn" and vectors.device.type == "cpu" and torch.is_grad_enabled():
            input_weight, weight, input_bias, bias = self.recurrence.all_weights[0]
            inputs = F.linear(vectors, input_weight, input_bias + bias)  # (B, T, H)
            return elman(inputs.transpose(0, 1), weight).transpose(0, 1)  # a sixth of a training step faster
        return self.recurrence(vectors)[0]

    def classify(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        """Logits from word vectors.

        Args:
            vectors: `(B, T, E)`.
            lengths: `(B,)`.

        Returns:
            `(B, C)`.
        """
        if self.config.padding == "read":
            lengths = torch.full_like(lengths, vectors.shape[1])
        state = read_out(self.states(vectors, lengths), lengths, self.config.readout)
        return self.linear(F.dropout(state, self.config.readout_dropout, self.training))

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Logits.

        Args:
            tokens: `(B, T)` indices, rows padded with `PADDING_INDEX` to T >= 1.
            lengths: `(B,)`, tokens in each row, 0 to T.

        Returns:
            `(B, C)`.
        """
        return self.classify(self.embed(tokens), lengths)
