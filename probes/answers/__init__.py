"""Answers and labels in and out: files, tables, other programs' exports, and what a variant was trained on."""
