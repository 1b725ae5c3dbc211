"""Whose objects are whose, where several tenants share a provider's credential: files, batches, threads, responses …

`ids.py` says which objects a request names and which an answer gives (pure); `holding.py` decides what that means for a
tenant (pure); `memory.py` and `redis.py` remember, behind the port `ObjectDirectory`.
"""
