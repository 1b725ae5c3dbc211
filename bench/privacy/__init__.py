"""Labelled texts of our own, and what detection makes of them: `python -m bench privacy`."""
