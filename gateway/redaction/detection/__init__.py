"""Detection, as it runs in an analysis worker. Whoever imports from here imports Presidio, and with it spaCy.

own         recognizers of ours, where Presidio's have holes
registry    a profile → its recognizers
words       words instead of a language model, so that context words count
phones      which clusters of digits can be a number of which region
engine      the recognizers on their windows: the same answers as the plain AnalyzerEngine, for less
model       names and places by a language model, through Presidio's own configuration
profile     all of it for one profile: normalise, find, threshold, allow, without overlaps
"""
