"""Benchmarks of the whole daemon on a real broker: `make bench`, or `python -m bench --help`.

Every figure stands beside one that was measured in the same run: the bare loop of `floor.py`, or the raw
import of `ceiling.py`. Nothing fails by a clock.
"""
