"""Looks inside a classifier: what one sentence does to it, step by step.

`trace` here is the function; its module stays importable as `from lens.trace import ...`.
"""

from lens.trace import Trace, trace

__all__ = ["Trace", "trace"]
