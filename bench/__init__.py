"""The bench: the gateway against nginx on the same work, in one run. `python -m bench --help`."""
