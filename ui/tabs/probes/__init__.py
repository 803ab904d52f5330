"""The Probes tab."""
