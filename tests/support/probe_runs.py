"""Runs that were never asked, as the benches write them."""

from bench.stored_runs import CATEGORIES, SAID, many, probe, write_run

__all__ = ["CATEGORIES", "SAID", "many", "probe", "write_run"]
