"""Flags that several benches have."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_engine_flags(parser: argparse.ArgumentParser) -> None:
    """Where and how the base computes, and where the figures go."""
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
