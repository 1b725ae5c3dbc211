"""What is told about exchanges: the record, metrics, and the background tasks that carry them."""
