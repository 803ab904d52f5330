"""The Experiment tab."""
