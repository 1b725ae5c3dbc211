"""config.toml and the GATEWAY_* environment: what one process needs to know. Imported by the command line and by the
composition root alone; everybody else is given values.

    load.py       a file and an environment → Settings, or all mistakes
    model.py      the shape: tables, defaults, what is allowed
    crossing.py   from the process that has checked them to the one that serves
    sources.py    where a value comes from
    kinds.py      the kinds of single values
    secret.py     env:NAME and file:PATH
    agreement.py  what settings must agree on with each other
    faults.py     from errors to sentences

Only `load.py`, `sources.py` and `faults.py` import pydantic, which what serves does not hold (record 0173).
"""
