"""Broken settings files: each says where, what is wrong and what is allowed, all of a file in one run."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.settings.load import load

PORT = "an integer from 0 to 65535"
SERVER = (
    "host, port, workers, backlog, max_body_bytes, header_seconds, body_seconds, write_seconds, keepalive_seconds, "
    "tunnel_seconds, drain_seconds, fast_paths"
)
ROOT = "schema, server, health, admin, secrets, store, policies, tokens, log, providers"
PROVIDER = (
    "api_key, access_key_id, session_token, kind, base_url, credentials, optional, labels, timeouts, speaks, "
    "api_version, auth, tenant_id, client_id, authority, scope, region, project"
)
STORE = (
    "memory://, redis://HOST:PORT/DB, redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB or "
    "redis+cluster://HOST:PORT,HOST:PORT; rediss… for TLS"
)
HTTP = "an address such as https://api.example.com/v1, without user, password, query or fragment"
SECRET = "env:NAME (capitals, digits, underscores) or file:PATH, so that no secret stands in a settings file"
HASH = "sha256: and 64 hex digits in lower case (gateway keys new prints one)"
ECHO = '[providers.echo]\nkind = "echo"\n'
LONG = "sha256:" + "0" * 64

# (the file, the line, what is wrong, what is allowed)
BROKEN = {
    "misspelt key": ("[server]\nprot = 1\n", 2, "unknown key 'prot' in [server], did you mean 'port'?", SERVER),
    "misspelt table": ("[severs]\nport = 1\n", 1, "unknown table or key 'severs', did you mean 'server'?", ROOT),
    "key of nowhere": ("zzz = 1\n", 1, "unknown table or key 'zzz'", ROOT),
    "text for a number": ('[server]\nport = "8080"\n', 2, "server.port is a text", PORT),
    "truth for a number": ("[server]\nport = true\n", 2, "server.port is a truth value", PORT),
    "number too large": ("[server]\n\nport = 70000\n", 3, "server.port is 70000", PORT),
    "negative number": ("[health]\nport = -1\n", 2, "health.port is -1", PORT),
    "no process": ("[server]\nworkers = 0\n", 2, "server.workers is 0", "an integer from 1 to 256"),
    "no time": (
        "[server]\ndrain_seconds = 0\n", 2, "server.drain_seconds is 0", "a number above 0 and up to 86400",
    ),
    "not a number": (
        "[server]\nbody_seconds = nan\n", 2, "server.body_seconds is nan", "a number above 0 and up to 86400",
    ),
    "number for a text": ("[server]\nhost = 1\n", 2, "server.host is an integer", "a text"),
    "empty text": ('[server]\nhost = ""\n', 2, "server.host is empty", "a text"),
    "text for a truth value": ('[admin]\nenabled = "no"\n', 2, "admin.enabled is a text", "true or false"),
    "value for a table": ("server = 8080\n", 1, "server is not a table", SERVER),
    "array for a table": ("[providers]\necho = []\n", 2, "providers.echo is not a table", PROVIDER),
    "unknown word, nearly right": (
        '[log]\nlevel = "warn"\n', 2, "log.level is 'warn', did you mean 'warning'?", "debug, info, warning, error",
    ),
    "unknown word": ('[log]\nformat = "xml"\n', 2, "log.format is none of the allowed words", "auto, json, console"),
    "later shape": ("schema = 2\n", 1, "schema is 2", "an integer from 1 to 1"),
    "unknown kind of provider": (
        '[providers.a]\nkind = "cohere"\n', 2, "providers.a.kind is none of the allowed words",
        "openai, azure, anthropic, gemini, bedrock, vertex, echo (in this version)",
    ),
    "azure without address": (
        '[providers.a]\nkind = "azure"\napi_key = "env:KEY"\n', 1, "providers.a has no base_url",
        "the resource's address: https://NAME.openai.azure.com",
    ),
    "bedrock without region": (
        '[providers.a]\nkind = "bedrock"\napi_key = "env:KEY"\n', 1, "providers.a has no region",
        "the one that is called: us-east-1 …",
    ),
    "an application without its tenant": (
        '[providers.a]\nkind = "azure"\nbase_url = "http://x"\napi_key = "env:KEY"\nauth="federated"\nclient_id="c"\n',
        1, "providers.a has no tenant_id", "that of the application in Entra",
    ),
    "an application that is none": (
        '[providers.a]\nkind = "azure"\nbase_url = "https://x"\napi_key = "env:KEY"\nclient_id = "c"\n', 5,
        "providers.a.client_id is set, and no token is got with it",
        'auth = "client_secret" or "federated" beside it',
    ),
    "no such auth": (
        '[providers.a]\nkind = "azure"\nbase_url = "https://x"\napi_key = "env:KEY"\nauth = "workload"\n', 5,
        "providers.a.auth is 'workload', which kind azure has not", "key, entra, client_secret, federated",
    ),
    "a key where none is shown": (
        '[providers.a]\nkind = "vertex"\nregion="global"\nproject="p-1"\napi_key = "env:KEY"\nauth = "workload"\n', 5,
        'providers.a.api_key is set, and auth = "workload" shows no key', "nothing here",
    ),
    "vertex without project": (
        '[providers.a]\nkind = "vertex"\nregion = "global"\napi_key = "env:KEY"\n', 1, "providers.a has no project",
        "the id of the project that is charged",
    ),
    "no project": (
        '[providers.a]\nkind = "vertex"\nregion = "global"\nproject = "a/b"\napi_key = "env:KEY"\n', 4,
        "providers.a.project is no project's id",
        "letters in lower case, digits, hyphens, points and colons, such as my-project-1",
    ),
    "no region": (
        '[providers.a]\nkind = "bedrock"\napi_key = "env:KEY"\nregion = "a/b"\n', 4,
        "providers.a.region is no region's name", "letters in lower case, digits and hyphens, such as us-east-1",
    ),
    "region of another kind": (
        '[providers.a]\nkind = "openai"\napi_key = "env:KEY"\nregion = "eu"\n', 4,
        "providers.a.region is set, and kind openai has none", "nothing here",
    ),
    "bedrock without key": (
        '[providers.a]\nkind = "bedrock"\nregion = "eu-central-1"\n', 1,
        "providers.a cannot be called: it has no api_key", "the key set, or optional = true",
    ),
    "access key of another kind": (
        '[providers.a]\nkind = "openai"\napi_key = "env:KEY"\naccess_key_id = "env:KEY"\n', 4,
        "providers.a.access_key_id is set, and kind openai has none", "nothing here",
    ),
    "half an access key": (
        ('[providers.a]\nkind = "bedrock"\nregion = "eu"\n[[providers.a.credentials]]\nname = "x"\n'
         'api_key = "env:KEY"\nsession_token = "env:KEY"\n'), 7,
        "providers.a.credentials[0].session_token is set without the rest of its key",
        "access_key_id and, in api_key, the secret access key",
    ),
    "version of another kind": (
        '[providers.a]\nkind = "openai"\napi_key = "env:KEY"\napi_version = "v"\n', 4,
        "providers.a.api_version is set, and kind openai has none", "nothing here",
    ),
    "speaks of another kind": (
        '[providers.a]\nkind = "gemini"\napi_key = "env:KEY"\nspeaks = ["chat"]\n', 4,
        "providers.a.speaks is set, and kind gemini says that itself", "nothing here",
    ),
    "speaks another word": (
        '[providers.a]\nkind = "openai"\napi_key = "env:KEY"\nspeaks = ["chatt"]\n', 4,
        "providers.a.speaks[0] is 'chatt', did you mean 'chat'?", "chat, responses, messages",
    ),
    "provider without kind": ("[providers.a]\noptional = true\n", 1, "providers.a has no kind", PROVIDER),
    "provider without key": (
        '[providers.a]\nkind = "openai"\n', 1, "providers.a cannot be called: it has no api_key",
        "the key set, or optional = true",
    ),
    "provider whose key is not set": (
        '[providers.a]\nkind = "openai"\napi_key = "env:NOT_SET"\n', 3,
        "providers.a cannot be called: the environment variable NOT_SET is not set or empty",
        "the key set, or optional = true",
    ),
    "literal key": (
        '[providers.a]\nkind = "openai"\napi_key = "sk-canary"\n', 3, "providers.a.api_key is a literal", SECRET,
    ),
    "literal key behind env:": (
        '[providers.a]\nkind = "openai"\napi_key = "env:sk-canary"\n', 3, "providers.a.api_key is a literal", SECRET,
    ),
    "number for a key": (
        '[providers.a]\nkind = "openai"\napi_key = 123\n', 3, "providers.a.api_key is an integer", SECRET,
    ),
    "echo with a key": (
        '[providers.a]\nkind = "echo"\napi_key = "env:A"\n', 3,
        "providers.a.api_key is set, and kind echo answers inside the process", "nothing here",
    ),
    "one key and several": (
        ('[providers.a]\nkind = "openai"\napi_key = "env:KEY"\n[[providers.a.credentials]]\nname = "x"\n'
        'api_key = "env:KEY"\n'), 3, "providers.a has api_key and credentials", "one of the two",
    ),
    "weight 0": (
        '[providers.a]\nkind = "openai"\n[[providers.a.credentials]]\nname = "x"\napi_key = "env:KEY"\nweight = 0\n', 6,
        "providers.a.credentials[0].weight is 0", "an integer from 1 to 1000000",
    ),
    "credential's name twice": (
        ('[providers.a]\nkind = "openai"\n[[providers.a.credentials]]\nname = "x"\napi_key = "env:KEY"\n'
        '[[providers.a.credentials]]\nname = "x"\napi_key = "env:KEY"\n'), 7,
        "providers.a.credentials: the name 'x' stands twice", "a name of its own for each",
    ),
    "address without scheme": (
        '[providers.a]\nkind = "openai"\nbase_url = "api.openai.com"\napi_key = "env:KEY"\n', 3,
        "providers.a.base_url is not an HTTP address", HTTP,
    ),
    "address with a password": (
        '[providers.a]\nkind = "openai"\nbase_url = "http://u:sk-canary@h/v1"\napi_key = "env:KEY"\n', 3,
        "providers.a.base_url holds a user or a password", HTTP,
    ),
    "no provider": (
        "[providers]\n", 1, "providers is empty", 'at least one, such as [providers.echo] with kind = "echo"',
    ),
    "unknown store": ('[store]\nurl = "mysql://h"\n', 2, "store.url is not a store's address", STORE),
    "store without host": ('[store]\nurl = "redis:///0"\n', 2, "store.url names no host", STORE),
    "password in the store's address": (
        '[store]\nurl = "redis://u:sk-canary@h:6379/0"\n', 2, "store.url holds a password",
        'no password in it: [store] password = "env:NAME" or "file:PATH"',
    ),
    "two hosts of one store": (
        '[store]\nurl = "redis://a,b/0"\n', 2, "store.url names several hosts",
        "one host, or redis+sentinel:// or redis+cluster://",
    ),
    "Sentinels without a service": (
        '[store]\nurl = "redis+sentinel://a,b"\n', 2, "store.url names no service",
        "the name that the Sentinels give the master: …/SERVICE",
    ),
    "a database of a Cluster": (
        '[store]\nurl = "redis+cluster://a/1"\n', 2, "store.url names a database", "none: a Cluster has only one",
    ),
    "a query in the store's address": (
        '[store]\nurl = "rediss://a/1?ssl_cert_reqs=none"\n', 2, "store.url holds a query or a fragment",
        "nothing behind its path; [store.tls] says what TLS needs",
    ),
    "a port beyond all": (
        '[store]\nurl = "redis://a:70000"\n', 2, "store.url names port 70000", "a port from 1 to 65535",
    ),
    "a database that is no number": (
        '[store]\nurl = "redis://a/zero"\n', 2, "store.url names a database that is no number",
        "the number of a database, as in …/0",
    ),
    "a Sentinels' password without Sentinels": (
        '[store]\nurl = "redis://a"\nsentinel_password = "env:KEY"\n', 3,
        "store.sentinel_password is set, and store.url has no Sentinels", "a redis+sentinel:// store",
    ),
    "authorities without TLS": (
        '[store]\nurl = "redis://a"\ntls = { ca = "config.toml" }\n', 3,
        "store.tls.ca is set, and store.url is without TLS", "a rediss… store",
    ),
    "authorities that are not there": (
        '[store]\nurl = "rediss://a"\ntls = { ca = "none.pem" }\n', 3,
        "store.tls.ca: there is no file HERE/none.pem", "a PEM file",
    ),
    "a certificate without its key": (
        '[store]\nurl = "rediss://a"\ntls = { certificate = "config.toml" }\n', 3,
        "store.tls has one of certificate and key", "both or none",
    ),
    "password in the store's query": (
        '[store]\nurl = "redis://h:6379/0?password=sk-canary"\n', 2, "store.url holds a password",
        'no password in it: [store] password = "env:NAME" or "file:PATH"',
    ),
    "password for memory": (
        '[store]\npassword = "env:KEY"\n', 2, "store.password is set, and memory:// has none", "a redis:// store",
    ),
    "several processes that count apart": (
        "[server]\nworkers = 2\n", 2,
        ("server.workers is 2 with store.url memory://, where every process would count for itself and admit each "
        "limit once more"), "workers = 1, or a redis:// store",
    ),
    "fraction above 1": (
        '[store]\non_failure = { mode = "bounded", fraction = 1.5 }\n', 2, "store.on_failure.fraction is 1.5",
        "a number above 0 and up to 1",
    ),
    "a journal, which is not written yet": (
        '[store]\njournal = "j"\n', 2, "store.journal is set, and this version writes no journal of settlements",
        "this setting left out; a Redis with appendonly yes forgets least",
    ),
    "admin that nobody can use": (
        "[admin]\nenabled = true\n", 2, "admin is enabled and has no token, so nobody could use it",
        "at least one [admin.tokens.NAME] with hash and role",
    ),
    "token in place of its hash": (
        '[admin.tokens.a]\nhash = "sk-canary"\nrole = "read"\n', 2, "admin.tokens.a.hash is not a hash", HASH,
    ),
    "token without role": (f'[admin.tokens.a]\nhash = "{LONG}"\n', 1, "admin.tokens.a has no role", "hash, role"),
    "token with a role of nowhere": (
        f'[admin.tokens.a]\nhash = "{LONG}"\nrole = "root"\n', 3, "admin.tokens.a.role is none of the allowed words",
        "read, keys, limits, stop, all",
    ),
    "one token, two names": (
        f'[admin.tokens.a]\nhash = "{LONG}"\nrole = "read"\n[admin.tokens.b]\nhash = "{LONG}"\nrole = "all"\n', 5,
        "admin.tokens.b has the hash of admin.tokens.a", "a token of its own for each name",
    ),
    "one port twice": ("[health]\nport = 8080\n", 2, "health.port is 8080, as server.port is", "a port of its own"),
    "policies of nowhere": (
        '[policies]\npath = "nowhere"\n', 2, "policies.path: there is no folder HERE/nowhere",
        "a folder with *.toml files in it",
    ),
    "master secret that is not there": (
        '[secrets]\nmaster = "file:none"\n', 2, "secrets.master: the file HERE/none cannot be read",
        "it set, or this setting left out",
    ),
}  # fmt: skip


def written(folder: Path, text: str) -> Path:
    (folder / "policies").mkdir(exist_ok=True)
    path = folder / "config.toml"
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize("case", BROKEN)
def test_each_mistake_has_its_place_and_its_words(case: str, tmp_path: Path) -> None:
    text, line, what, allowed = BROKEN[case]
    path = written(tmp_path, text)
    settings, mistakes = load(path, {"KEY": "canary"})
    said = [str(one).replace(str(tmp_path), "HERE") for one in mistakes]
    assert said == [f"HERE/config.toml:{line}: {what}; {allowed}"]
    assert settings is None
    assert "canary" not in repr(mistakes)


def test_all_mistakes_of_a_file_come_at_once(tmp_path: Path) -> None:
    """Those that are wrong by themselves, and those that disagree, in one run; none that only follows from another."""
    path = written(
        tmp_path,
        '[server]\nport = "x"\nprot = 1\nworkers = 3\n'
        '[admin]\nenabled = true\n[admin.tokens.ci]\nhash = "sk-canary"\nrol = "read"\n'
        '[providers.a]\nkind = "opnai"\napi_key = "sk-canary"\n'
        '[providers.b]\nkind = "openai"\n[polices]\npath = "x"\n',
    )
    settings, mistakes = load(path, {})
    assert settings is None
    assert [(str(one).split(";")[0]).partition("config.toml:")[2] for one in mistakes] == [
        "2: server.port is a text",
        "3: unknown key 'prot' in [server], did you mean 'port'?",
        (
            "4: server.workers is 3 with store.url memory://, where every process would count for itself and admit "
            "each limit once more"
        ),
        "8: admin.tokens.ci.hash is not a hash",
        "9: unknown key 'rol' in [admin.tokens.ci], did you mean 'role'?",
        "11: providers.a.kind is 'opnai', did you mean 'openai'?",
        "12: providers.a.api_key is a literal",
        "13: providers.b cannot be called: it has no api_key",
        "15: unknown table or key 'polices', did you mean 'policies'?",
    ]


def test_a_file_that_is_not_there_is_a_mistake_and_no_traceback(tmp_path: Path) -> None:
    settings, mistakes = load(tmp_path / "none.toml", {})
    assert settings is None
    assert [str(one).replace(str(tmp_path), "HERE") for one in mistakes] == [
        "HERE/none.toml:1: cannot be read: no such file or directory; a file such as config.example.toml"
    ]


def test_a_folder_and_bytes_that_are_no_text_are_mistakes(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    for path, what in ((tmp_path, "cannot be read: is a directory"), (tmp_path / "binary.toml", "is not UTF-8 text")):
        _, mistakes = load(path, {})
        assert [str(one).split(";")[0] for one in mistakes] == [f"{path}:1: {what}"]
