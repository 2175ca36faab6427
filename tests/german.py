"""A small made-up corpus in German, to train and open classifiers for other labels in another language.

python tests/german.py my_corpus
"""

from __future__ import annotations

import csv
import random
import sys
from pathlib import Path

LABELS = ("Wetter", "Sport", "Küche")
# Who does what, with what and where: any of each column makes a sentence of the class.
PATTERNS = (
    (
        ("ein Tief", "dichter Nebel", "kräftiger Regen", "ein Gewitter", "Frost", "der Föhn", "Schneefall"),
        ("zieht", "hält sich", "kommt am Abend", "breitet sich", "bleibt bis morgen"),
        ("über die Küste", "bei zwei Grad", "mit Sturmböen", "unter grauen Wolken", "bei milder Luft"),
        ("im Norden", "im Süden", "in den Alpen", "an der See", "am Wochenende"),
    ),
    (
        ("der Trainer", "die Mannschaft", "der Torwart", "die Läuferin", "der Verein", "die Stürmerin"),
        ("gewinnt", "verliert", "feiert", "trifft", "hofft auf den Sieg"),
        ("im Elfmeterschießen", "nach dem Anpfiff", "im Pokalspiel", "mit zwei Toren", "in der zweiten Halbzeit"),
        ("im Norden", "im Süden", "vor vollem Stadion", "gegen den Meister", "am Wochenende"),
    ),
    (
        ("die Köchin", "der Bäcker", "ein altes Rezept", "die Suppe", "der Teig", "der Kuchen"),
        ("backt", "würzt", "gelingt", "schmeckt", "ruht eine Stunde"),
        ("mit Butter und Mehl", "mit frischen Kräutern", "bei milder Hitze", "im Ofen", "mit einer Prise Salz"),
        ("im Norden", "im Süden", "in der Pfanne", "auf dem Teller", "am Wochenende"),
    ),
)


# German lets any of them begin, as long as the verb comes second.
ORDERS = ((0, 1, 2, 3), (2, 1, 0, 3), (3, 1, 0, 2), (0, 1, 2), (3, 1, 0))


def sentence(draw: random.Random, topic: int) -> str:
    """A sentence of a class (from 0)."""
    words = " ".join(draw.choice(PATTERNS[topic][part]) for part in draw.choice(ORDERS))
    return words[0].upper() + words[1:] + "."


def rows(count: int, seed: int) -> list[tuple[int, str]]:
    """Class (from 1) and one sentence or two, the classes in turn."""
    draw = random.Random(seed)
    return [(n % 3 + 1, " ".join(sentence(draw, n % 3) for _ in range(draw.randint(1, 2)))) for n in range(count)]


def write(directory: Path, train: int = 900, test: int = 150) -> Path:
    """Writes the corpus.

    Returns:
        `directory`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "classes.txt").write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    for name, count, seed in (("train.csv", train, 1), ("test.csv", test, 2)):
        with open(directory / name, "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows(count, seed))
    return directory


if __name__ == "__main__":
    write(Path(sys.argv[1]))
