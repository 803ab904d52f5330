"""Asking and judging: probe sets, runs, suggestions, the identity margin."""
