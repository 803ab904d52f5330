"""The results as tables, curves and files."""
