"""The manifests have the shapes of Kubernetes' own schemas, and name nothing that the proxy or they do not have."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from otel_llm.proxy.configuration import Configuration
from tests.helpers.deployed import OTEL_VARIABLES, SECONDS_TO_END, host_of
from tests.helpers.proxying import RunningProxy, proxying

Manifest = dict[str, Any]
KUBERNETES = Path(__file__).parents[2] / "deploy" / "proxy" / "kubernetes"
# The oldest that is meant, which is the first with sidecars, and the newest that the schemas know.
VERSIONS = ["1.29", "1.37"]
NAME = {"app.kubernetes.io/name": "otel-llm-proxy"}
# For other variables only.
HELPING = {"POD_NAME", "NAMESPACE"}


def manifests(variant: str) -> dict[str, Manifest]:
    """The resources that a kustomization has, by their kind."""
    folder = KUBERNETES / variant
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    names = [*kustomization.get("resources", ()), *(patch["path"] for patch in kustomization.get("patches", ()))]
    found = [yaml.safe_load((folder / name).read_text()) for name in names]
    return {one["kind"]: one for one in found}


DEPLOYMENT, SIDECAR = manifests("deployment"), manifests("sidecar")
POD = DEPLOYMENT["Deployment"]["spec"]["template"]
(PROXY,) = POD["spec"]["containers"]
SIDECAR_SPEC = SIDECAR["Deployment"]["spec"]["template"]["spec"]
(BESIDE,) = SIDECAR_SPEC["initContainers"]


def patched() -> Manifest:
    """An agent's deployment with the sidecar, as kustomize merges them."""
    agent = {"name": "agent", "image": "agent"}
    labels = {"app": "agent"}
    spec = {"containers": [agent], **SIDECAR_SPEC}
    template = {"metadata": {"labels": labels}, "spec": spec}
    return {
        **{key: SIDECAR["Deployment"][key] for key in ("apiVersion", "kind", "metadata")},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", [*DEPLOYMENT.values(), patched()], ids=lambda one: one["kind"])
def test_the_schemas(manifest: Manifest, version: str) -> None:
    schemas = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    assert schemas.validate(manifest, version, strict=True) == version


@pytest.mark.parametrize("variant", ["deployment", "sidecar"])
def test_every_file_is_used(variant: str) -> None:
    folder = KUBERNETES / variant
    text = (folder / "kustomization.yaml").read_text()
    assert all(file.name in text for file in folder.iterdir() if file.name != "kustomization.yaml")


@pytest.mark.parametrize(("container", "variant"), [(PROXY, "deployment"), (BESIDE, "sidecar")])
def test_the_settings(
    container: Manifest,
    variant: str,
    parsed: Callable[[Sequence[str]], argparse.Namespace],
    read: Callable[[Path, Mapping[str, str]], Configuration],
) -> None:
    (mount,) = container["volumeMounts"]
    assert parsed(["proxy", *container["args"]]).config == Path(mount["mountPath"]) / "proxy.yaml"
    environ = {one["name"]: one.get("value", "secret") for one in container["env"]}
    assert {name for name in environ if name.startswith("OTEL_")} - OTEL_VARIABLES <= {"OTEL_LLM_PROXY_TOKEN"}
    asked = {name: value for name, value in environ.items() if name not in HELPING}
    configuration = read(KUBERNETES / variant / "proxy.yaml", asked)
    port = int(configuration.listen.rpartition(":")[2])
    if variant == "deployment":
        assert container["ports"] == [{"name": "http", "containerPort": port}]
        # Else a client's own key would be taken for the token.
        assert configuration.replaces_credentials
    else:
        assert configuration.listen.startswith("127.0.0.1:")
        assert configuration.token is None
    # Variables that are put into others stand before them.
    names = [one["name"] for one in container["env"]]
    for place, one in enumerate(container["env"]):
        assert set(re.findall(r"\$\((\w+)\)", one.get("value", ""))) <= set(names[:place])


def test_the_settings_come_from_the_generator() -> None:
    for variant, spec in (("deployment", POD["spec"]), ("sidecar", SIDECAR_SPEC)):
        kustomization = yaml.safe_load((KUBERNETES / variant / "kustomization.yaml").read_text())
        (made,) = kustomization["configMapGenerator"]
        assert made["files"] == ["proxy.yaml"]
        assert [volume["configMap"]["name"] for volume in spec["volumes"]] == [made["name"]]


def probes(container: Manifest) -> Iterator[Manifest]:
    yield from (container[name] for name in ("startupProbe", "readinessProbe", "livenessProbe") if name in container)


@pytest.fixture(scope="module")
def running() -> Iterator[RunningProxy]:
    with proxying("http://127.0.0.1:1/v1", observed=False, token_env="T", environ={"T": "secret"}) as proxy:
        yield proxy


def test_the_probes_are_answered(running: RunningProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    import urllib.request

    monkeypatch.setenv("NO_PROXY", "*")
    for probe in probes(PROXY):
        assert probe["httpGet"]["port"] == PROXY["ports"][0]["name"]
        with urllib.request.urlopen(f"{running.url}{probe['httpGet']['path']}") as answer:
            assert answer.status == 200
    for probe in probes(BESIDE):
        program, option, code = probe["exec"]["command"]
        assert (program, option) == ("python", "-c")
        assert ":4321/" in code
        exec(code.replace(":4321/", f":{running.port}/"))


def test_streams_may_finish(read: Callable[[Path, Mapping[str, str]], Configuration]) -> None:
    environ = {one["name"]: one.get("value", "secret") for one in PROXY["env"] if one["name"] not in HELPING}
    drain = read(KUBERNETES / "deployment" / "proxy.yaml", environ).limits.drain_seconds
    program, seconds = PROXY["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    assert POD["spec"]["terminationGracePeriodSeconds"] >= int(seconds) + drain + SECONDS_TO_END
    beside = read(KUBERNETES / "sidecar" / "proxy.yaml", {}).limits.drain_seconds
    # Kubernetes gives a pod 30 seconds unless it says otherwise.
    assert beside < 30


@pytest.mark.parametrize("container", [PROXY, BESIDE])
def test_it_may_do_little(container: Manifest) -> None:
    context = container["securityContext"]
    assert context["readOnlyRootFilesystem"]
    assert not context["allowPrivilegeEscalation"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    # What stands at the pod holds for each of its containers.
    whole = {**POD["spec"]["securityContext"], **context} if container is PROXY else context
    assert whole["runAsNonRoot"]
    assert whole["runAsUser"] == 10001
    assert whole["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not host_of(container["image"])
    assert "cpu" not in container["resources"]["limits"]


def test_they_select_the_pods() -> None:
    assert POD["metadata"]["labels"] == NAME
    assert DEPLOYMENT["Deployment"]["spec"]["selector"]["matchLabels"] == NAME
    assert DEPLOYMENT["Service"]["spec"]["selector"] == NAME
    assert DEPLOYMENT["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == NAME
    assert DEPLOYMENT["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == NAME
    scaled = DEPLOYMENT["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    deployment = DEPLOYMENT["Deployment"]
    assert scaled == {
        "apiVersion": deployment["apiVersion"],
        "kind": deployment["kind"],
        "name": deployment["metadata"]["name"],
    }
    # The autoscaler and a number here would fight at each rollout.
    assert "replicas" not in deployment["spec"]


def test_only_what_is_configured_can_be_reached(read: Callable[[Path, Mapping[str, str]], Configuration]) -> None:
    environ = {one["name"]: one.get("value", "secret") for one in PROXY["env"] if one["name"] not in HELPING}
    servers = read(KUBERNETES / "deployment" / "proxy.yaml", environ).upstreams.servers
    spec = DEPLOYMENT["NetworkPolicy"]["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    ports = {port["port"] for rule in spec["egress"] for port in rule["ports"]}
    collector = int(environ["OTEL_EXPORTER_OTLP_ENDPOINT"].rpartition(":")[2])
    assert ports == {53, collector, *(server.port for server in servers)}
    blocks = [to["ipBlock"] for rule in spec["egress"] for to in rule["to"] if "ipBlock" in to]
    assert all("169.254.0.0/16" in block["except"] for block in blocks if block["cidr"] == "0.0.0.0/0")
    (rule,) = spec["ingress"]
    assert rule["ports"] == [{"port": PROXY["ports"][0]["name"]}]
    assert rule["from"]
