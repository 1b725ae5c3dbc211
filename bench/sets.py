"""What is switched on: policies and settings of each way in which the gateway is measured."""

from __future__ import annotations

import secrets
from hashlib import sha256

MODELS = """
[models.bench]
provider = "bench"
[models."bench-*"]
provider = "bench"
[[prices]]
provider = "bench"
model = "*"
input = 1.0
output = 2.0
"""
KEY = "gw-bench-" + secrets.token_urlsafe(32)
BIG = "1_000_000_000"


def key_hash(secret: str = KEY) -> str:
    """A secret as policies hold it."""
    return f"sha256:{sha256(secret.encode()).hexdigest()}"


def plain_policies(others: int = 0) -> dict[str, str]:
    """Key, route and record: no limit, no redaction. `others` are keys that nobody uses in the run."""
    more = "".join(
        f'[keys.other-{number}]\nhash = "{key_hash(f"other-{number}")}"\nmodels = ["bench"]\n'
        for number in range(others)
    )
    return {"keys.toml": f'[keys.bench]\nhash = "{key_hash()}"\nmodels = ["*"]\n{more}', "models.toml": MODELS}


def ruled_policies(rules: int) -> dict[str, str]:
    """The plain set among others: so many models with a price, a limit of the key's own and a denied parameter each,
    none of them for what is asked in the run."""
    models = "".join(
        f'[models.other-{number}]\nprovider = "bench"\n'
        f'[[prices]]\nprovider = "bench"\nmodel = "other-{number}"\ninput = 1.0\noutput = 2.0\n'
        for number in range(rules)
    )
    limits = "".join(
        f'[keys.bench.per_model."other-{number}".limits]\nrequests_per_minute = {BIG}\n' for number in range(rules)
    )
    denied = ", ".join(f'"parameter_{number}"' for number in range(rules))
    key = f'[keys.bench]\nhash = "{key_hash()}"\nmodels = ["*"]\nrequest = {{ deny = [{denied}] }}\n'
    return {"keys.toml": key + limits, "models.toml": MODELS + models}


def everything_policies(*, redaction: bool = True) -> dict[str, str]:
    """Three scopes of limits in the store, redaction, prices: what a company would run."""
    limits = f"requests_per_minute = {BIG}, tokens_per_minute = {BIG}00"
    profile = 'redaction = "strict"\n' if redaction else ""
    return {
        "keys.toml": f"[tenants.acme]\nbudget = {{ usd_per_month = 1_000_000 }}\n"
        f'[teams.support]\ntenant = "acme"\nlimits = {{ {limits} }}\n'
        f'[keys.bench]\nhash = "{key_hash()}"\nteam = "support"\nmodels = ["*"]\n{profile}'
        f"limits = {{ {limits} }}\nbudget = {{ usd_per_month = 1_000_000, tokens_per_day = {BIG}00 }}\n",
        "models.toml": MODELS,
        "redaction.toml": '[redaction.strict]\nentities = ["EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE",'
        ' "US_SSN", "IP_ADDRESS"]\naction = "replace"\non_error = "deny"\n',
    }


def settings_text(port: int, health: int, upstream_port: int, store: str, more: str = "") -> str:
    """config.toml of a run. `more` goes into `[server]`."""
    return (
        f'[server]\nport = {port}\n{more}\n[health]\nport = {health}\n[store]\nurl = "{store}"\n'
        '[policies]\npath = "policies"\n[log]\nlevel = "warning"\nformat = "json"\n'
        '[secrets]\nmaster = "env:BENCH_MASTER"\n'
        f'[providers.bench]\nkind = "openai"\nbase_url = "http://127.0.0.1:{upstream_port}/v1"\n'
        'api_key = "env:BENCH_KEY"\n'
    )
