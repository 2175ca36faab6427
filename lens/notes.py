"""Notes that were measured about a classifier and lie beside its weights: JSON objects of a known form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lens.trace import plain_text
from model.checkpoint import require_unchanged
from model.classifier import Classifier
from model.config import UserError
from model.files import read_note

Form = Any
"""What a value must be: `float` (any number), `int`, `str`; `[form]` a list, `[form, n]` one of n; a dict with these
very keys; `(form, None)` the form or null."""

_LARGEST_INTEGER = 2**53  # beyond it a browser rounds, and an encoder or a tensor gives up


def load_note(classifier: Classifier, file: str, form: Form, version: int, largest: int) -> dict[str, Any] | None:
    """Reads a note about a classifier from the directory that it was loaded from.

    Args:
        classifier: the one it is about.
        file: one of `model.files.NOTES`.
        form: of the whole object, `format` included.
        version: of the format.
        largest: bytes that the file may have.

    Returns:
        What it says; None where there is none.

    Raises:
        UserError: it is damaged, of another format, or about another classifier, such as one that was trained into the
            same directory meanwhile.
    """
    source = classifier.source
    if source.directory is None:
        return None
    name = Path(source.name or source.directory)
    value = read_note(source.directory, name, file, largest)
    if value is None:
        return None
    if type(value.get("format")) is not int or value["format"] != version:
        raise UserError(f"{name / file}: not of format {version}; {_way_out(name)}")
    wrong = mismatch(value, form)
    if wrong is not None:
        raise UserError(f"{name / file}: {wrong}; {_way_out(name)}")
    if source.kind == "directory":  # one on the Hub is a commit, which never changes
        require_unchanged(classifier, source.directory)
    return value


def to_json(value: dict[str, Any]) -> bytes:
    """A note as it is stored."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def mismatch(value: Any, form: Form, where: str = "it") -> str | None:
    """What keeps a value from being of a form; None where it is."""
    if isinstance(form, tuple):
        return None if value is None else mismatch(value, form[0], where)
    if isinstance(form, dict):
        if not isinstance(value, dict) or set(value) != set(form):
            return f"{where} does not have {', '.join(form)}"[:200]
        found = (mismatch(value[key], form[key], key) for key in form)
    elif isinstance(form, list):
        if not isinstance(value, list) or len(value) not in (form[1:] or [len(value)]):
            return f"{where} is not a list" + (f" of {form[1]}" if form[1:] else "")
        found = (mismatch(item, form[0], where) for item in value)
    else:
        good = type(value) is form or (form is float and type(value) is int)
        if isinstance(value, int):
            good = good and abs(value) <= _LARGEST_INTEGER
        if isinstance(value, str):
            good = good and plain_text(value) == value  # JSON can hold what UTF-8 cannot
        return None if good else f"{where} is not {'text' if form is str else 'a number'}"
    return next((wrong for wrong in found if wrong is not None), None)


def _way_out(name: Path) -> str:
    return f"measure again: python train.py --measure {name}."
