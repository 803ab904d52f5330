"""Asking a probe set of many variants: python -m probes.run"""
