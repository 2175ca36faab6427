"""A classifier by name: from a directory or from the Hub."""

from __future__ import annotations

import os

from model import checkpoint
from model.checkpoint import save
from model.classifier import Classifier, pick_device

__all__ = ["load", "save"]


def load(name_or_directory: str | os.PathLike[str], revision: str | None = None, device: str = "auto") -> Classifier:
    """Loads a classifier."""
    return checkpoint.load(name_or_directory, pick_device(device))
