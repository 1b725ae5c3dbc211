"""The edge: sockets to the journey and back."""
