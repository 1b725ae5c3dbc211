"""Answers on their way: SSE bytes to events and back, and the filters between them. Sans-io."""
