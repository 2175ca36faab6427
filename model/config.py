"""What can be chosen about a classifier, and the named choices."""

from __future__ import annotations

from dataclasses import dataclass, replace

CELLS = ("rnn", "lstm", "gru")
READOUTS = ("last", "mean", "max")
PADDINGS = ("ignored", "read")
INITIALIZATIONS = ("orthogonal", "torch")


class UserError(Exception):
    """Something a person asked for that cannot be done: one sentence that names the way out."""


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UserError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}.")


def _between(name: str, value: float, low: float, high: float) -> None:
    # The comparison is written so that NaN is refused too.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise UserError(f"{name} is {value!r}; it must be a number from {low} to {high}.")


def _whole(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UserError(f"{name} is {value!r}; it must be a whole number from {low} to {high}.")


@dataclass(frozen=True)
class NetworkConfig:
    """The architecture: everything that a network's weights need to be run again.

    Raises:
        UserError: a field is outside what is allowed.
    """

    cell: str = "lstm"  # "rnn" (Elman, tanh), "lstm" or "gru"
    vocabulary_size: int = 0  # rows of the embedding; 0 until a corpus has been read
    embedding_dim: int = 64  # features of a word vector
    hidden_dim: int = 64  # units of the hidden state
    num_classes: int = 0  # 0 until a corpus has been read
    readout: str = "last"  # which states the verdict reads: the last, their mean, or their maximum
    padding: str = "ignored"  # "read": padding counts as words, the notebook's flaw reproduced on purpose
    packed: bool = False  # run on packed sequences: the same numbers at another speed
    word_dropout: float = 0.0  # share of words replaced by <unk> in training, so that no single word carries a row
    embedding_dropout: float = 0.0  # share of embedding features dropped in training
    readout_dropout: float = 0.0  # share of the read-out state's features dropped in training
    initialization: str = "torch"  # "orthogonal": recurrent weights orthogonal, forget bias 1

    def __post_init__(self) -> None:
        _one_of("cell", self.cell, CELLS)
        _one_of("readout", self.readout, READOUTS)
        _one_of("padding", self.padding, PADDINGS)
        _one_of("initialization", self.initialization, INITIALIZATIONS)
        _whole("vocabulary_size", self.vocabulary_size, 0, 10_000_000)
        _whole("embedding_dim", self.embedding_dim, 1, 4096)
        _whole("hidden_dim", self.hidden_dim, 1, 4096)
        _whole("num_classes", self.num_classes, 0, 10_000)
        if not isinstance(self.packed, bool):
            raise UserError(f"packed is {self.packed!r}; it must be true or false.")
        for name in ("word_dropout", "embedding_dropout", "readout_dropout"):
            _between(name, getattr(self, name), 0.0, 0.99)


@dataclass(frozen=True)
class TrainingConfig:
    """How the weights are found.

    Raises:
        UserError: a field is outside what is allowed.
    """

    epochs: int = 1  # passes over the training rows
    batch_size: int = 256  # rows a step, over all processes together
    learning_rate: float = 1e-3  # Adam's; the peak, when the schedule is "one-cycle"
    schedule: str = "constant"  # "one-cycle": up to the peak, then down to zero (Smith 2018)
    warmup: float = 0.15  # share of the steps that "one-cycle" takes to go up
    weight_decay: float = 0.0  # decoupled (AdamW)
    label_smoothing: float = 0.0  # share of the target spread over all classes
    lazy: bool = True  # a step trains the vectors of the words it reads; False: of all words, as Adam does
    clip_norm: float = 0.0  # largest norm of a step's gradient; 0 does not clip
    average_decay: float = 0.0  # decay a step of the moving average of the weights that is kept; 0 keeps the last
    validation_share: float = 0.05  # share of the training rows held out to choose the epoch by
    min_frequency: int = 1  # a word seen less often in training is unknown
    max_vocabulary: int | None = None  # words kept, most frequent first; None keeps all
    repair: bool = True  # mend broken markup while reading the rows
    vectors: str | None = None  # GloVe vectors to start the embedding from: a file, or a name in the cache

    def __post_init__(self) -> None:
        _whole("epochs", self.epochs, 1, 10_000)
        _whole("batch_size", self.batch_size, 1, 1_000_000)
        _between("learning_rate", self.learning_rate, 1e-9, 100.0)
        _one_of("schedule", self.schedule, ("constant", "one-cycle"))
        _between("warmup", self.warmup, 0.01, 0.99)
        _between("weight_decay", self.weight_decay, 0.0, 10.0)
        _between("label_smoothing", self.label_smoothing, 0.0, 0.99)
        _between("clip_norm", self.clip_norm, 0.0, 1e9)
        _between("average_decay", self.average_decay, 0.0, 0.999999)
        _between("validation_share", self.validation_share, 0.0, 0.5)
        _whole("min_frequency", self.min_frequency, 1, 1_000_000)
        if self.max_vocabulary is not None:
            _whole("max_vocabulary", self.max_vocabulary, 1, 10_000_000)


@dataclass(frozen=True)
class Recipe:
    """A whole configuration under a name."""

    name: str
    summary: str  # what it is, for --help and the model card
    network: NetworkConfig
    training: TrainingConfig
    notebook_accuracy: float | None = None  # the notebook's running training accuracy after its one epoch


# Chosen on validation rows alone. 28,404 words of 128 features in half precision stay below 8 MB.
_PRODUCT = NetworkConfig(
    embedding_dim=128,
    hidden_dim=64,
    word_dropout=0.4,
    embedding_dropout=0.6,
    readout_dropout=0.3,
    initialization="orthogonal",
)
_PRODUCT_TRAINING = TrainingConfig(
    epochs=7,
    batch_size=128,
    learning_rate=7e-3,
    schedule="one-cycle",
    weight_decay=0.1,
    label_smoothing=0.1,
    clip_norm=1.0,
    average_decay=0.998,
    min_frequency=4,
)
# An RNN's gradients vary over more orders of magnitude: shorter steps, cut earlier, and more of them.
_RNN_TRAINING = replace(
    _PRODUCT_TRAINING, epochs=10, batch_size=256, learning_rate=3e-3, weight_decay=0.0, clip_norm=0.25
)
_NOTEBOOK = NetworkConfig(embedding_dim=64, hidden_dim=32)
_NOTEBOOK_TRAINING = TrainingConfig(batch_size=16, lazy=False, repair=False)  # plain Adam, as there

_ALL = (
    Recipe("rnn", "simple (Elman) RNN, last state", replace(_PRODUCT, cell="rnn"), _RNN_TRAINING),
    Recipe("lstm", "LSTM, last state", replace(_PRODUCT, cell="lstm"), _PRODUCT_TRAINING),
    Recipe("gru", "GRU, last state", replace(_PRODUCT, cell="gru"), _PRODUCT_TRAINING),
    Recipe(
        "notebook-rnn",
        "the notebook's RNN: mean over all outputs, padding included",
        replace(_NOTEBOOK, cell="rnn", readout="mean", padding="read"),
        _NOTEBOOK_TRAINING,
        notebook_accuracy=0.812,
    ),
    Recipe(
        "notebook-lstm",
        "the notebook's LSTM: final state, read after the padding",
        replace(_NOTEBOOK, cell="lstm", padding="read"),
        _NOTEBOOK_TRAINING,
        notebook_accuracy=0.696,
    ),
    Recipe(
        "notebook-lstm-packed",
        "the notebook's LSTM on packed sequences, final state",
        replace(_NOTEBOOK, cell="lstm", packed=True),
        _NOTEBOOK_TRAINING,
        notebook_accuracy=0.818,
    ),
    Recipe(
        "notebook-rnn-glove",
        "the notebook's RNN on GloVe 6B 50d vectors",
        replace(_NOTEBOOK, cell="rnn", embedding_dim=50),
        replace(_NOTEBOOK_TRAINING, vectors="glove.6B.50d"),
        notebook_accuracy=0.249,
    ),
)

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _ALL}
