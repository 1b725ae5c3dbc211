"""Personal data: found by Presidio's recognizers in worker processes, replaced before a body leaves, restored in the reply."""
