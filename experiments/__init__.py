"""How much data does it take? Doses, seeds and thresholds: the one room that uses probes and tuning together."""
