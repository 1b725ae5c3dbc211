"""Which provider and model version may answer, in which order."""
