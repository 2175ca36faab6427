"""The notebook's four systems, trained here, beside the notebook's own results.

    python train.py --data DIR --recipe notebook-rnn notebook-lstm notebook-lstm-packed --out OUT
    python train.py --data DIR --recipe notebook-rnn-glove --vectors glove.6B.50d.txt --out OUT
    python -m benchmarks.notebook OUT [OUT2 ...]            a directory for each seed; not all need hold all four

Reads each OUT/RECIPE/training.json, prints a table in markdown, and writes benchmarks/notebook.json, which the page
shows on its Training tab: recipe -> a list of runs, as `result` describes them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from model.config import RECIPES

WRITTEN = Path(__file__).with_name("notebook.json")
NAMES = tuple(name for name, recipe in RECIPES.items() if recipe.notebook_accuracy is not None)
NOTEBOOK_ROWS = 120_000  # of the notebook's one epoch


def result(record: dict[str, Any]) -> dict[str, Any]:
    """What the comparison needs of a training record.

    Args:
        record: of one epoch.

    Returns:
        Running training accuracy, held-out and test accuracy as shares, `at_notebook_rows` and the circumstances.
        `at_notebook_rows` is what the running accuracy would be had the epoch gone on to the notebook's number of
        rows at the accuracy that it ended with, which is the held-out one: an estimate of what the shorter epoch cost.
    """
    (point,) = record["curves"]
    rows, running, held_out = record["rows"]["train"], point["train_accuracy"], point["validation_accuracy"]
    more = max(0, NOTEBOOK_ROWS - rows)
    vectors = record["training"]["vectors"]
    return {
        "train_accuracy": running,
        "at_notebook_rows": round((rows * running + more * held_out) / (rows + more), 4),
        "validation_accuracy": held_out,
        "test_accuracy": round(record["test"]["accuracy"], 4),
        "test_interval": [round(bound, 4) for bound in record["test"]["interval"]],
        "train_rows": rows,
        "test_rows": record["test"]["rows"],
        "learning_rate": record["training"]["learning_rate"],
        "vectors": vectors and Path(vectors).name,
        "seed": record["seed"],
        "seconds": record["seconds"],
        "device": record["device"],
        "versions": record["versions"],
    }


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    """The comparison in markdown, a line for each run."""
    lines = [
        "| recipe | the notebook, training | seed | ours, training | ours, at 120,000 rows (estimate) | ours, test |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, runs in results.items():
        for run in runs:
            low, high = run["test_interval"]
            lines.append(
                f"| `{name}` | {RECIPES[name].notebook_accuracy:.1%} | {run['seed']} | {run['train_accuracy']:.1%} | "
                f"{run['at_notebook_rows']:.1%} | {run['test_accuracy']:.1%} ({low:.1%} to {high:.1%}) |"
            )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directories", metavar="OUT", nargs="+", type=Path, help="where train.py wrote them")
    parser.add_argument(
        "--to", metavar="FILE", type=Path, default=WRITTEN, help=f"what is written (default: {WRITTEN})"
    )
    args = parser.parse_args(arguments)
    results: dict[str, list[dict[str, Any]]] = {}
    for name in NAMES:
        paths = [directory / name / "training.json" for directory in args.directories]
        results[name] = [result(json.loads(path.read_text(encoding="utf-8"))) for path in paths if path.exists()]
        if not results[name]:
            print(f"There is no {paths[0]}: train {name} into {paths[0].parents[1]}.", file=sys.stderr)
            return 1
    args.to.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
