"""Experiments: how much data an identity takes. The one room that uses probes and tuning together."""
