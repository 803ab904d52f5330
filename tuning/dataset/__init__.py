"""Rows to train on: read, written from facts, mixed and cleaned. `python -m tuning.dataset`"""
