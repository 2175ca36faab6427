"""A tiny corpus in the format of AG_NEWS, made up, that a network learns in seconds."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable
from pathlib import Path

LABELS = ("World", "Sports", "Business", "Sci/Tech")
TOPICS = (
    ("minister", "treaty", "border", "embassy", "troops", "election"),
    ("goal", "coach", "season", "striker", "inning", "playoff"),
    ("shares", "profit", "merger", "oil", "bank", "earnings"),
    ("software", "browser", "satellite", "chip", "virus", "robot"),
)
FILLERS = ("the", "a", "on", "in", "after", "said", "to", "new", "with", "monday")


def sentences(count: int, seed: int, classes: int = 4) -> list[tuple[int, str]]:
    """Rows of class (from 1) and text: words of the class among words of no class, in any order."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        topic = number % classes
        words = draw.choices(TOPICS[topic], k=draw.randint(3, 6)) + draw.choices(FILLERS, k=draw.randint(2, 8))
        draw.shuffle(words)
        rows.append((topic + 1, " ".join(words)))
    draw.shuffle(rows)
    return rows


def write_rows(path: Path, rows: Iterable[tuple[object, ...]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)


def write_corpus(directory: Path, train: int = 600, test: int = 100, classes: int = 4) -> Path:
    """A corpus directory.

    Returns:
        `directory`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "classes.txt").write_text("\n".join(LABELS[:classes]) + "\n")
    write_rows(directory / "train.csv", sentences(train, 1, classes))
    write_rows(directory / "test.csv", sentences(test, 2, classes))
    return directory


def write_vectors(path: Path, size: int = 8) -> Path:
    """Vectors in GloVe's text format for the words of the topics, and for one that no corpus has.

    Returns:
        `path`.
    """
    draw = random.Random(3)
    lines = []
    for word in (*(word for topic in TOPICS for word in topic), "xylophone"):
        lines.append(" ".join([word, *(f"{draw.gauss(0, 0.4):.5f}" for _ in range(size))]))
    path.write_text("\n".join(lines) + "\n")
    return path
