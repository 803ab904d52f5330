"""The machine below: files whole or not at all, full disks, processes by identity, ways to end. Imports no room."""
