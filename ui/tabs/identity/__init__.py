"""The Identity tab."""
