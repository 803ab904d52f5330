"""Suggested labels, by rules alone: python -m probes.suggest"""
