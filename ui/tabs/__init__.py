"""One package per tab: layout.py holds its components, events.py what happens."""
