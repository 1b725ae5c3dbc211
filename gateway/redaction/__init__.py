"""Personal data: found by Presidio in worker processes, replaced before a body leaves, restored in the reply."""
