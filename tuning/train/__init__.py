"""Training an adapter: `python -m tuning.train`"""
