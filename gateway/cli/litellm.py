"""What a LiteLLM proxy was told, as our TOML. Pure; `importing.py` reads and writes.

Sources: LiteLLM's config.yaml (`model_list`, `router_settings`) and its table LiteLLM_VerificationToken, whose `token`
is the plain SHA-256 of a key: the keys go on working. What has no counterpart is said, never guessed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateway.cli.keys import quoted

# The part of a model's name before the slash → our kind of provider. Others speak like OpenAI and name their address.
KINDS = {"openai": "openai", "anthropic": "anthropic", "gemini": "gemini", "azure": "azure"}
OURS = frozenset(("hosted_vllm", "openai_like", "litellm_proxy", "lm_studio", "llamafile"))
_PERIODS = {"24h": "day", "1d": "day", "30d": "month", "1mo": "month", "31d": "month", None: "total", "": "total"}
_TAKEN = frozenset(("model", "api_base", "base_url", "api_key", "api_version", "weight"))
_PRICES = {"input_cost_per_token": "input", "output_cost_per_token": "output",
           "cache_read_input_token_cost": "cached_input", "cache_creation_input_token_cost": "cache_write"}  # fmt: skip
_ENVIRONMENT = "os.environ/"


class Imported:
    """The three files, and what did not translate, each with its place."""

    def __init__(self) -> None:
        self.config: list[str] = ["schema = 1", '[policies]\npath = "policies"', ""]
        self.models: list[str] = ["schema = 1", ""]
        self.keys: list[str] = ["schema = 1", ""]
        self.left: list[str] = []
        self._providers: dict[tuple[str, str, str], str] = {}

    def take_config(self, tree: Mapping[str, Any]) -> None:
        """A config.yaml."""
        fallbacks = self._fallbacks(tree)
        groups: dict[str, list[Mapping[str, Any]]] = {}
        for number, entry in enumerate(_list(tree.get("model_list"))):
            name = entry.get("model_name") if isinstance(entry, Mapping) else None
            if not isinstance(name, str) or not isinstance(entry.get("litellm_params"), Mapping):
                self.left.append(f"model_list[{number}]: it has no model_name or no litellm_params")
                continue
            groups.setdefault(name, []).append(entry)
        for name, entries in groups.items():
            self._model(name, entries, fallbacks.get(name, ()))
        for section in tree:
            if section not in ("model_list", "router_settings"):
                names = ", ".join(tree[section]) if isinstance(tree[section], Mapping) else "all of it"
                self.left.append(f"{section}: {names}")

    def _fallbacks(self, tree: Mapping[str, Any]) -> dict[str, Sequence[str]]:
        found: dict[str, Sequence[str]] = {}
        router = tree.get("router_settings")
        for name, value in (router if isinstance(router, Mapping) else {}).items():
            if name != "fallbacks":
                self.left.append(f"router_settings.{name}")
                continue
            for one in _list(value):
                found.update(one if isinstance(one, Mapping) else {})
        return found

    def _model(self, name: str, entries: Sequence[Mapping[str, Any]], fallback: Sequence[str]) -> None:
        if "*" in name[:-1]:
            self.left.append(f"model_list {name}: a wildcard may only stand at the end of a name")
            return
        versions = []
        for number, entry in enumerate(entries):
            params: Mapping[str, Any] = entry["litellm_params"]
            where = f"model_list {name}" + (f" ({number + 1})" if len(entries) > 1 else "")
            provider, model = self._provider(where, params)
            if provider is None:
                continue
            weight = params.get("weight", 1)
            versions.append((provider, model, weight if isinstance(weight, int) and weight >= 0 else 1))
            self._price(where, provider, model, entry)
            for left in sorted(set(params) - _TAKEN - set(_PRICES)):
                self.left.append(f"{where}: litellm_params.{left}")
        if not versions:
            return
        self.models.append(f"[models.{quoted(name)}]")
        if fallback:
            self.models.append(f"fallback = [{', '.join(_text(one) for one in fallback)}]")
        if len(versions) == 1:
            provider, model, _ = versions[0]
            rest = "" if model.endswith("*") else f"\nmodel = {_text(model)}"
            self.models.append(f"provider = {_text(provider)}{rest}")
        for number, (provider, model, weight) in enumerate(versions if len(versions) > 1 else ()):
            self.models.append(f"[[models.{quoted(name)}.versions]]")
            self.models.append(f'name = "{number + 1}"\nprovider = {_text(provider)}\nmodel = {_text(model)}')
            self.models.append(f"weight = {weight}")
        self.models.append("")

    def _provider(self, where: str, params: Mapping[str, Any]) -> tuple[str | None, str]:
        """The provider's name of ours, made where it is new, and the model's name there."""
        asked = str(params.get("model", ""))
        prefix, slash, model = asked.partition("/")
        if not slash:
            prefix, model = "openai", asked
        address = str(params.get("api_base") or params.get("base_url") or "").rstrip("/")
        kind = KINDS.get(prefix, "openai" if address and (prefix in OURS or prefix not in KINDS) else "")
        if not kind or not model:
            self.left.append(f"{where}: the provider of {asked!r} has no counterpart, and no api_base is given")
            return None, ""
        secret = str(params.get("api_key") or "")
        known = (kind, address, secret)
        if known not in self._providers:
            name = prefix if prefix not in self._providers.values() else f"{prefix}-{len(self._providers) + 1}"
            self._providers[known] = name
            self.config += self._provider_table(where, name, kind, address, secret)
        return self._providers[known], model

    def _provider_table(self, where: str, name: str, kind: str, address: str, secret: str) -> Iterator[str]:
        yield f"[providers.{quoted(name)}]\nkind = {_text(kind)}"
        if address:
            yield f"base_url = {_text(address)}"
        variable = secret.removeprefix(_ENVIRONMENT)
        if secret and not secret.startswith(_ENVIRONMENT):
            variable = re.sub(r"\W", "_", name).upper() + "_API_KEY"
            self.left.append(f"{where}: its api_key stands in the file; set it in the environment as {variable}")
        if not secret and not address:
            variable = f"{kind.upper()}_API_KEY"
        if variable:
            yield f"api_key = {_text('env:' + variable)}\noptional = true"
        yield ""

    def _price(self, where: str, provider: str, model: str, entry: Mapping[str, Any]) -> None:
        said = {**(entry.get("model_info") or {}), **entry["litellm_params"]}
        prices = {ours: said[theirs] for theirs, ours in _PRICES.items() if isinstance(said.get(theirs), int | float)}
        if prices and not {"input", "output"} <= prices.keys():
            self.left.append(f"{where}: a price needs both input_cost_per_token and output_cost_per_token")
        elif prices:
            self.models.append(f"[[prices]]\nprovider = {_text(provider)}\nmodel = {_text(model)}")
            self.models += [f"{name} = {_number(value * 1e6)}" for name, value in prices.items()]
            self.models.append("")

    def take_keys(self, rows: Sequence[Mapping[str, str]]) -> None:
        """The rows of LiteLLM_VerificationToken."""
        names: set[str] = set()
        teams = {row["team_id"] for row in rows if row.get("team_id")}
        for team in sorted(teams):
            self.keys += [f"[teams.{quoted(team)}]", ""]
        if teams:
            self.left.append("teams: their names, limits and budgets are in another table; only their ids came over")
        for number, row in enumerate(rows):
            token = (row.get("token") or "").strip().lower()
            if not re.fullmatch("[0-9a-f]{64}", token):
                self.left.append(f"key {number + 1}: its token is no SHA-256")
                continue
            name = re.sub(r"[^A-Za-z0-9._@/ -]", "-", row.get("key_alias") or "").strip(" -._/@")[:80]
            name = name if name and name not in names else f"{name or 'key'}-{token[:8]}"
            names.add(name)
            self._key(name, token, row)

    def _key(self, name: str, token: str, row: Mapping[str, str]) -> None:
        self.keys += [f"[keys.{quoted(name)}]", f'id = "k_{token[:12]}"', f'hash = "sha256:{token}"']
        models = _array(row.get("models"))
        if "all-team-models" in models:
            self.left.append(f"key {name}: all-team-models became every model; name them in its team")
        every = not models or {"all-proxy-models", "all-team-models"} & set(models)
        self.keys.append(f"models = [{', '.join(_text(one) for one in (('*',) if every else models))}]")
        if row.get("team_id"):
            self.keys.append(f"team = {_text(row['team_id'])}")
        if moment := _moment(row.get("expires")):
            self.keys.append(f"expires = {moment}")
        if (row.get("blocked") or "").lower() in ("t", "true", "1"):
            self.keys.append('disabled = { reason = "It was blocked in LiteLLM." }')
        limits = [
            f"{ours} = {int(float(row[theirs]))}"
            for theirs, ours in (
                ("rpm_limit", "requests_per_minute"),
                ("tpm_limit", "tokens_per_minute"),
                ("max_parallel_requests", "concurrent_requests"),
            )
            if _positive(row.get(theirs))
        ]
        if limits:
            self.keys.append(f"limits = {{ {', '.join(limits)} }}")
        if _positive(row.get("max_budget")):
            period = _PERIODS.get(row.get("budget_duration"))
            if period is None:
                self.left.append(
                    f"key {name}: a budget for {row['budget_duration']!r}; there are day, month and in all"
                )
            else:
                amount = _number(float(row["max_budget"]))
                self.keys.append(f"budget = {{ usd_{'per_' if period != 'total' else ''}{period} = {amount} }}")
        if _positive(row.get("spend")):
            self.left.append(f"key {name}: it had spent {row['spend']} USD; here it begins at 0")
        for column in ("soft_budget", "model_max_budget", "aliases", "permissions", "allowed_routes"):
            if (row.get(column) or "").strip() not in ("", "{}", "[]", "null"):
                self.left.append(f"key {name}: {column}")
        self.keys.append("")


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _array(text: str | None) -> list[str]:
    """A list as JSON or as PostgreSQL writes it in a dump."""
    text = (text or "").strip()
    if text.startswith("["):
        try:
            return [one for one in json.loads(text) if isinstance(one, str)]
        except ValueError:
            return []
    return [one.strip().strip('"') for one in text.strip("{}").split(",") if one.strip().strip('"')]


def _moment(text: str | None) -> str | None:
    match = re.match(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)", text or "")
    return f"{match[1]}T{match[2]}Z" if match else None


def _positive(text: str | None) -> bool:
    try:
        return 0 < float(text or "0") < math.inf
    except ValueError:
        return False


def _number(value: float) -> str:
    return f"{value:.10f}".rstrip("0").rstrip(".")
