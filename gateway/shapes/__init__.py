"""The shapes of requests and answers whose cost and text the gateway reads, one file each; `table.py` lists them.

What differs from one to the other stands here and nowhere else: which parameters bound the output, how a stream says
its usage, where running text stands in its events, what an error looks like. The rest of the gateway asks the table.
"""
