"""Everything a GPU has to show, in one command: see `bench.gpu.__main__`."""
