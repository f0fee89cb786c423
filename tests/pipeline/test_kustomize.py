"""What kustomize makes of the manifests of the proxy is what Kubernetes takes, also inside of another kustomization."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from stack import cache, tools

KUBERNETES = Path(__file__).parents[2] / "deploy" / "proxy" / "kubernetes"
MODULE = "sigs.k8s.io/kustomize/kustomize/v5@v5.7.1"
AGENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: agent, labels: {otel-llm/sidecar: "true"}}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      initContainers: [{name: first, image: first}]
      containers: [{name: agent, image: agent}]
      volumes: [{name: data, emptyDir: {}}]
"""


@pytest.fixture(scope="module")
def kustomize() -> Path:
    """The program, built. This takes a minute or two, only once."""

    def build(folder: Path) -> None:
        env = {**os.environ, "GOBIN": str(folder), "GOFLAGS": "-mod=mod -buildvcs=false"}
        ended = subprocess.run(["go", "install", MODULE], env=env, capture_output=True, text=True, timeout=1200)
        if ended.returncode:
            raise cache.BuildError(ended.stderr)

    try:
        tools.find("go")
    except tools.MissingToolError as missing:
        if os.environ.get("OTEL_LLM_REQUIRE_STACK"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    return cache.built("kustomize", MODULE, build) / "kustomize"


def made(kustomize: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """The resources that it prints, by kind, each checked by its schema."""
    ended = subprocess.run([kustomize, "build", folder], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    resources = list(yaml.safe_load_all(ended.stdout))
    for resource in resources:
        kubernetes_validate.validate(resource, "1.29", strict=True)
    return {resource["kind"]: resource for resource in resources}


def test_the_deployment(kustomize: Path) -> None:
    resources = made(kustomize, KUBERNETES / "deployment")
    kinds = {"ConfigMap", "Deployment", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget", "Service"}
    assert set(resources) == kinds
    (volume,) = resources["Deployment"]["spec"]["template"]["spec"]["volumes"]
    assert volume["configMap"]["name"] == resources["ConfigMap"]["metadata"]["name"] != "otel-llm-proxy"
    assert resources["ConfigMap"]["data"]["proxy.yaml"] == (KUBERNETES / "deployment" / "proxy.yaml").read_text()


def test_the_sidecar(kustomize: Path, tmp_path: Path) -> None:
    shutil.copytree(KUBERNETES / "sidecar", tmp_path / "sidecar")
    agents = tmp_path / "agents"
    agents.mkdir()
    (agents / "agent.yaml").write_text(AGENT)
    (agents / "kustomization.yaml").write_text("resources: [agent.yaml]\ncomponents: [../sidecar]\n")
    resources = made(kustomize, agents)
    spec = resources["Deployment"]["spec"]["template"]["spec"]
    assert {one["name"] for one in spec["initContainers"]} == {"first", "otel-llm-proxy"}
    assert spec["containers"] == [{"name": "agent", "image": "agent"}]
    settings = {volume["name"]: volume for volume in spec["volumes"]}["otel-llm-proxy-settings"]
    assert settings["configMap"]["name"] == resources["ConfigMap"]["metadata"]["name"]
