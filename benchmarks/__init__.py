"""Speed, one command each: `python -m benchmarks.NAME`."""
