"""Train recurrent text classifiers, keep them, share them."""

from model.classifier import Classifier
from model.config import RECIPES, UserError
from model.hub import load, push, save

__all__ = ["RECIPES", "Classifier", "UserError", "load", "push", "save"]
