"""The chart, rendered by Helm's own engine: every object is valid for every Kubernetes that we name, and the
settings and policies that it mounts are ones that the gateway starts with."""

from __future__ import annotations

import functools
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

helm = pytest.importorskip("helm_python", reason="helm-python-sdk has no wheel for this machine")
kubernetes_validate = pytest.importorskip("kubernetes_validate")

CHART = Path(__file__).parents[2] / "helm" / "llm-gateway"
KUBERNETES = ("1.27", "1.30", "1.33", "1.36")
REDIS = {"store": {"url": "redis://redis:6379/0"}}
PEER = {"podSelector": {"matchLabels": {"app": "caller"}}}

# name → values; each is rendered, validated and checked against every rule below
CASES: Mapping[str, dict[str, Any]] = {
    "defaults": {},
    "three replicas": REDIS | {"replicaCount": 3},
    "none": {"replicaCount": 0},
    "autoscaling": REDIS | {"autoscaling": {"enabled": True, "minReplicas": 2, "maxReplicas": 5}},
    "no disruption budget": REDIS | {"replicaCount": 2, "podDisruptionBudget": {"enabled": False}},
    "secrets": {
        "store": {"url": "rediss://redis:6380/0", "passwordSecret": {"name": "redis-auth", "key": "password"}},
        "masterKeySecret": {"name": "gateway-master", "key": "master"},
        "secretFiles": [{"name": "openai", "secretName": "openai-key"}],
        "config": 'schema = 1\n[providers.openai]\nkind = "openai"\n'
        'api_key = "file:/etc/gateway/secrets/openai/api-key"\n[providers.echo]\nkind = "echo"\n',
        "imagePullSecrets": [{"name": "registry"}],
    },
    "workers": REDIS | {"workers": 4, "replicaCount": 2},
    "sentinels": {
        "store": {
            "url": "redis+sentinel://gateway@s1:26379,s2:26379/main/0",
            "passwordSecret": {"name": "redis-auth", "key": "password"},
            "sentinelPasswordSecret": {"name": "sentinel-auth", "key": "password"},
        },
        "workers": 2,
    },
    "cluster": {"store": {"url": "rediss+cluster://c1:6379,c2:6379"}, "replicaCount": 2},
    "ingress": {
        "ingress": {
            "enabled": True, "className": "nginx", "host": "llm.example.com", "tlsSecretName": "tls",
            "annotations": {"nginx.ingress.kubernetes.io/proxy-buffering": "off"},
        }
    },
    "service monitor": {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}},
    "more of everything": {
        "extraVolumes": [{"name": "ranks", "persistentVolumeClaim": {"claimName": "ranks", "readOnly": True}}],
        "extraVolumeMounts": [{"name": "ranks", "mountPath": "/ranks", "readOnly": True}],
        "extraEnv": [{"name": "GATEWAY_TOKENS__RANKS", "value": "/ranks"}],
        "initContainers": [{"name": "wait", "image": "images.example/wait:1"}],
        "extraContainers": [{"name": "mesh", "image": "images.example/mesh:1"}],
    },
    "admin": {"admin": {"enabled": True}, "ports": {"http": 8000, "health": 9000, "admin": 9001}}
    | {"config": f'[admin.tokens.ci]\nhash = "sha256:{"0" * 64}"\nrole = "read"\n[providers.echo]\nkind = "echo"\n'},
    "network policy": REDIS | {"networkPolicy": {"enabled": True}},
    "closed network policy": REDIS
    | {"admin": {"enabled": True}}
    | {"config": f'[admin.tokens.ci]\nhash = "sha256:{"0" * 64}"\nrole = "read"\n[providers.echo]\nkind = "echo"\n'}
    | {
        "networkPolicy": {
            "enabled": True,
            "ingressFrom": [PEER],
            "healthFrom": [PEER],
            "adminFrom": [PEER],
            "storePorts": [6379, 26379],
            "extraEgress": [{"ports": [{"port": 8443}]}],
        }
    },
    "policies of their own": {"policies": {"existingConfigMap": "our-policies"}},
    "account of their own": {"serviceAccount": {"create": False, "name": "ours"}},
    "digest": {"image": {"repository": "images.example/llm-gateway", "digest": "sha256:" + "a" * 64}},
    "everything about the pod": {
        "podAnnotations": {"note": "x"},
        "podLabels": {"team": "ai"},
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [
            {"topologyKey": "kubernetes.io/hostname", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
        ],
        "priorityClassName": "high",
        "service": {"type": "LoadBalancer", "port": 443, "annotations": {"a": "b"}},
        "extraEnv": [{"name": "OPENAI_API_KEY", "valueFrom": {"secretKeyRef": {"name": "k", "key": "k"}}}],
    },
    "a very long name": {"fullnameOverride": "gateway-" + "x" * 60},
    "text that YAML could misread": {
        "config": "  # indented: first\n\tschema = 1\n# 'quotes' \"and\" {{ braces }} #\n"
    },
}

# values → a part of the message that says what is wrong
REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"replicas": 2}, "additional properties 'replicas' not allowed"),
    ({"replicaCount": 2}, "store.url is memory://"),
    ({"autoscaling": {"enabled": True}}, "store.url is memory://"),
    ({"ingress": {"enabled": True}}, "ingress.host says no name"),
    ({"serviceMonitor": {"interval": "soon"}}, "at '/serviceMonitor/interval'"),
    ({"workers": 2}, "store.url is memory://, which one process counts alone"),
    (REDIS | {"workers": 0}, "at '/workers'"),
    (
        {"store": {"url": "redis://redis:6379", "sentinelPasswordSecret": {"name": "s", "key": "k"}}},
        "store.url has no Sentinels",
    ),
    ({"store": {"url": "redis+sentinel://me:secret@s1:26379/main"}}, "at '/store/url'"),
    ({"extraEnv": [{"name": "GATEWAY_SERVER__WORKERS", "value": "2"}]}, "at '/extraEnv/0/name'"),
    ({"replicaCount": -1}, "at '/replicaCount'"),
    ({"replicaCount": "two"}, "at '/replicaCount'"),
    ({"store": {"url": "redis://:secret@redis:6379"}}, "at '/store/url'"),
    ({"store": {"url": "postgres://db"}}, "at '/store/url'"),
    ({"store": {"url": "redis://redis", "pasword": "x"}}, "additional properties 'pasword' not allowed"),
    ({"image": {"tag": "latest"}}, "at '/image/tag'"),
    ({"image": {"repository": ""}}, "at '/image/repository'"),
    ({"image": {"digest": "sha256:short"}}, "at '/image/digest'"),
    ({"ports": {"http": 80}}, "at '/ports/http'"),
    ({"ports": {"http": 9090}}, "must differ"),
    ({"drainSeconds": 0}, "at '/drainSeconds'"),
    ({"preStopSeconds": 0}, "at '/preStopSeconds'"),
    ({"podDisruptionBudget": {"maxUnavailable": 0}}, "at '/podDisruptionBudget/maxUnavailable'"),
    (REDIS | {"autoscaling": {"enabled": True, "minReplicas": 4, "maxReplicas": 3}}, "is below"),
    ({"policies": {"files": {"keys.yaml": ""}}}, "'keys.yaml' does not match pattern"),
    ({"podLabels": {"app.kubernetes.io/name": "other"}}, "invalid propertyName 'app.kubernetes.io/name'"),
    ({"secretFiles": [{"name": "x", "secretName": ""}]}, "at '/secretFiles/0/secretName'"),
    ({"extraEnv": [{"name": "GATEWAY_SERVER__PORT", "value": "1"}]}, "at '/extraEnv/0/name'"),
    ({"secretFiles": [{"name": "store", "secretName": "x"}]}, "at '/secretFiles/0/name'"),
    ({"log": {"level": "verbose"}}, "at '/log/level'"),
)


def render(values: dict[str, Any], name: str = "demo") -> list[dict[str, Any]]:
    files = helm.Chart.load(str(CHART)).render(values, name=name, namespace="apps")
    texts = [text for path, text in files.items() if path.endswith(".yaml")]
    return [one for text in texts for one in yaml.safe_load_all(text) if one]


@functools.cache
def rendered(case: str) -> list[dict[str, Any]]:
    return render(CASES[case])


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [one for one in objects if one["kind"] == kind]


def pod(objects: list[dict[str, Any]]) -> dict[str, Any]:
    (deployment,) = of_kind(objects, "Deployment")
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


def container(objects: list[dict[str, Any]]) -> dict[str, Any]:
    first = pod(objects)["containers"][0]
    assert isinstance(first, dict)
    return first


def environment(objects: list[dict[str, Any]]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container(objects)["env"] if "value" in one}


every_case = pytest.mark.parametrize("case", tuple(CASES))


def test_lint_has_no_errors_and_no_warnings() -> None:
    found = helm.lint(str(CHART), strict=True)
    assert found["errors"] == []
    assert [one for one in found["messages"] if one["severity"] > 1] == []


@every_case
@pytest.mark.parametrize("version", KUBERNETES)
def test_every_object_is_valid(case: str, version: str) -> None:
    for one in rendered(case):
        if one["kind"] != "ServiceMonitor":  # Kubernetes has no such kind of its own
            kubernetes_validate.validate(one, version, strict=True)


def test_the_validation_can_fail() -> None:
    (deployment,) = of_kind(render({}), "Deployment")
    deployment["spec"]["template"]["spec"]["terminationGracePeriod"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, "1.30", strict=True)


@pytest.mark.parametrize(("values", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_bad_values_are_refused_by_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(helm.HelmError) as caught:
        render(values)
    assert message in str(caught.value)


@every_case
def test_the_pod_runs_with_nothing_it_does_not_need(case: str) -> None:
    spec = pod(rendered(case))
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    inside = container(rendered(case))
    assert inside["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert inside["resources"]["requests"].keys() == {"cpu", "memory"}
    assert inside["resources"]["limits"].keys() == {"memory"}
    assert not inside["image"].endswith(":latest")


@every_case
def test_probes_ask_the_health_listener_each_its_own_question(case: str) -> None:
    inside = container(rendered(case))
    ports = {one["name"]: one["containerPort"] for one in inside["ports"]}
    probes = {name: inside[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {one["path"] for one in probes.values()} == {"/startupz", "/livez", "/readyz"}
    assert {one["port"] for one in probes.values()} == {"health"}
    set_by_chart = environment(rendered(case))
    assert str(ports["health"]) == set_by_chart["GATEWAY_HEALTH__PORT"]
    assert str(ports["http"]) == set_by_chart["GATEWAY_SERVER__PORT"]
    assert ports.get("admin") == (
        int(set_by_chart["GATEWAY_ADMIN__PORT"]) if set_by_chart["GATEWAY_ADMIN__ENABLED"] == "true" else None
    )


@pytest.mark.parametrize(("pre_stop", "drain"), ((10, 600), (5, 1), (120, 7200)))
def test_the_grace_period_holds_both_parts_of_a_shutdown(pre_stop: int, drain: int) -> None:
    objects = render({"preStopSeconds": pre_stop, "drainSeconds": drain})
    assert pod(objects)["terminationGracePeriodSeconds"] == pre_stop + drain + 5
    assert container(objects)["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", str(pre_stop)]
    assert environment(objects)["GATEWAY_SERVER__DRAIN_SECONDS"] == str(drain)


@every_case
def test_what_is_mounted_exists_and_is_a_whole_directory(case: str) -> None:
    objects = rendered(case)
    maps = {one["metadata"]["name"] for one in of_kind(objects, "ConfigMap")}
    outside = {CASES[case].get("policies", {}).get("existingConfigMap")}
    volumes = {one["name"]: one for one in pod(objects)["volumes"]}
    mounts = container(objects)["volumeMounts"]
    assert {one["name"] for one in mounts} == volumes.keys()
    assert not [one for one in mounts if "subPath" in one]
    assert [one["mountPath"] for one in mounts if not one.get("readOnly")] == ["/tmp"]
    for volume in volumes.values():
        assert "configMap" not in volume or volume["configMap"]["name"] in maps | outside
    used = {path for path in environment(objects).values() if path.startswith("file:")}
    assert all(any(path.startswith(f"file:{one['mountPath']}/") for one in mounts) for path in used)


@every_case
def test_selectors_find_the_pods_and_never_hold_a_version(case: str) -> None:
    objects = rendered(case)
    (deployment,) = of_kind(objects, "Deployment")
    selector = deployment["spec"]["selector"]["matchLabels"]
    assert selector.keys() == {"app.kubernetes.io/name", "app.kubernetes.io/instance"}
    assert selector.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    for service in of_kind(objects, "Service"):
        assert service["spec"]["selector"] == selector
        names = {one["name"] for one in container(objects)["ports"]}
        assert {one["targetPort"] for one in service["spec"]["ports"]} <= names
    for budget in of_kind(objects, "PodDisruptionBudget"):
        assert budget["spec"]["selector"]["matchLabels"] == selector
    for network in of_kind(objects, "NetworkPolicy"):
        assert network["spec"]["podSelector"]["matchLabels"] == selector
    for scaler in of_kind(objects, "HorizontalPodAutoscaler"):
        assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]


@every_case
def test_names_fit_and_two_releases_do_not_collide(case: str) -> None:
    names = [(one["kind"], one["metadata"]["name"]) for one in rendered(case)]
    assert len(set(names)) == len(names)
    assert max(len(name) for _, name in names) <= 63
    if "fullnameOverride" not in CASES[case]:
        others = [(one["kind"], one["metadata"]["name"]) for one in render(CASES[case], name="other")]
        assert not set(names) & set(others)


@pytest.mark.parametrize(
    ("values", "kinds"),
    (
        ({}, set()),
        (REDIS | {"replicaCount": 1}, set()),
        (REDIS | {"replicaCount": 2}, {"PodDisruptionBudget"}),
        (REDIS | {"autoscaling": {"enabled": True}}, {"PodDisruptionBudget", "HorizontalPodAutoscaler"}),
        ({"networkPolicy": {"enabled": True}}, {"NetworkPolicy"}),
        ({"ingress": {"enabled": True, "host": "llm.example.com"}}, {"Ingress"}),
        ({"serviceMonitor": {"enabled": True}}, {"ServiceMonitor"}),
    ),
)
def test_what_is_not_asked_for_is_not_made(values: dict[str, Any], kinds: set[str]) -> None:
    extra = {"PodDisruptionBudget", "HorizontalPodAutoscaler", "NetworkPolicy", "Ingress", "ServiceMonitor"}
    assert {one["kind"] for one in render(values)} & extra == kinds


def test_only_what_is_read_once_restarts_the_pods() -> None:
    def template(values: dict[str, Any]) -> Any:
        (deployment,) = of_kind(render(values), "Deployment")
        return deployment["spec"]["template"]

    assert template({"policies": {"files": {"keys.toml": "schema = 1\n"}}}) == template({})
    assert template({"config": "schema = 1\n"}) != template({})


def test_admin_is_reachable_only_when_switched_on() -> None:
    for case in CASES:
        services = {one["metadata"]["name"].rpartition("-")[2] for one in of_kind(rendered(case), "Service")}
        assert ("admin" in services) is CASES[case].get("admin", {}).get("enabled", False)


def test_an_ingress_leads_to_applications_and_a_monitor_to_metrics() -> None:
    (way,) = of_kind(rendered("ingress"), "Ingress")
    services = {one["metadata"]["name"]: one for one in of_kind(rendered("ingress"), "Service")}
    (path,) = way["spec"]["rules"][0]["http"]["paths"]
    behind = services[path["backend"]["service"]["name"]]
    assert [one["targetPort"] for one in behind["spec"]["ports"]] == ["http"]
    (monitor,) = of_kind(rendered("service monitor"), "ServiceMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    found = [
        one
        for one in of_kind(rendered("service monitor"), "Service")
        if wanted <= one["metadata"]["labels"].items()
    ]
    assert [one["name"] for service in found for one in service["spec"]["ports"]] == ["health"]
    assert monitor["spec"]["endpoints"][0]["port"] == "health"


def test_the_network_policy_names_its_peers() -> None:
    (network,) = of_kind(rendered("closed network policy"), "NetworkPolicy")
    assert all(one["from"] == [PEER] for one in network["spec"]["ingress"])
    ports = [port["port"] for one in network["spec"]["egress"] for port in one["ports"]]
    assert ports == [53, 53, 443, 6379, 26379, 8443]


def test_texts_arrive_as_they_were_written() -> None:
    case = "text that YAML could misread"
    (config,) = (one for one in of_kind(rendered(case), "ConfigMap") if "config.toml" in one["data"])
    assert config["data"] == {"config.toml": CASES[case]["config"]}


def test_notes_warn_of_what_only_a_trial_can_bear() -> None:
    def notes(values: dict[str, Any]) -> str:
        files = helm.Chart.load(str(CHART)).render(values, name="demo", namespace="apps")
        return str(files["llm-gateway/templates/NOTES.txt"])

    assert "store.url" in notes({})
    assert "masterKeySecret" in notes({})
    assert "http://demo-llm-gateway.apps.svc:80/v1" in notes({})
    assert "!" not in notes(CASES["secrets"])


def mounted(objects: list[dict[str, Any]], root: Path) -> Iterator[tuple[str, Path]]:
    """Lay the config maps out as a kubelet does: files are links through `..data`, which is swapped on change."""
    maps = {one["metadata"]["name"]: one["data"] for one in of_kind(objects, "ConfigMap")}
    for volume, number in zip(pod(objects)["volumes"], itertools.count()):
        if "configMap" not in volume:
            continue
        folder = root / volume["name"]
        real = folder / f"..2026_01_01_00_00_00.{number}"
        real.mkdir(parents=True)
        (folder / "..data").symlink_to(real.name)
        for name, text in maps[volume["configMap"]["name"]].items():
            (real / name).write_text(text)
            (folder / name).symlink_to(Path("..data") / name)
        yield f"/etc/gateway/{volume['name']}", folder


@pytest.mark.parametrize("case", ("defaults", "three replicas", "secrets", "workers", "sentinels", "admin", "closed network policy"))
def test_the_gateway_accepts_what_is_mounted(case: str, tmp_path: Path) -> None:
    objects = rendered(case)
    folders = dict(mounted(objects, tmp_path))
    for volume in pod(objects)["volumes"]:
        if "secret" in volume:
            folder = tmp_path / "secrets" / volume["name"].removeprefix("secret-")
            folder.mkdir(parents=True)
            for key in ("master", "password", "api-key"):
                (folder / key).write_text("0123456789abcdef0123456789abcdef")
    folders["/etc/gateway/secrets"] = tmp_path / "secrets"

    def here(text: str) -> str:
        for there, folder in folders.items():
            text = text.replace(there, str(folder))
        return text

    config = folders["/etc/gateway/config"] / "config.toml"
    config.write_text(here(config.read_text()))
    given = {name: here(value) for name, value in environment(objects).items()}
    arguments = [here(one) for one in container(objects)["args"]]
    assert arguments == ["serve", "--config", str(config)]
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "check", *arguments[1:]],
        env={"PATH": os.environ["PATH"]} | given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
