"""Providers: one file per wire dialect, over a transport."""
