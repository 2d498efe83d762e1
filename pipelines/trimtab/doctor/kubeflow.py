"""Kubeflow Pipelines' known faults: retries that do not retry, an API that asks nobody, credentials of the launcher."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import yaml

from trimtab.doctor.answering import get
from trimtab.doctor.checks import Finding
from trimtab.doctor.kube import Kube, core

if TYPE_CHECKING:
    from trimtab.doctor.checks import Where

HARDENING = "apply manifests/components/kfp-hardening"
REFUSED = (401, 403)
# A user that is nobody's: an API that believes the header answers all the same.
NOBODY = {"kubeflow-userid": "trimtab-doctor@nobody.invalid"}


def check_retries(where: Where, kube: Kube) -> Iterator[Finding]:
    """Argo's defaults let `set_retry` work for ordinary failures."""
    found = kube.get(core(where.kubeflow_in, "configmaps", "workflow-controller-configmap"))
    if found is None:
        said = f"no workflow-controller-configmap in {where.kubeflow_in}"
        yield Finding("Kubeflow retries", "not looked at", said, "--kubeflow-in names where Kubeflow is installed")
        return
    policy = _policy(found.get("data") or {})
    if policy in {"Always", "OnFailure"}:
        yield Finding("Kubeflow retries", "ok", f"retryPolicy {policy}")
    else:
        said = (
            f"retryPolicy is {policy or 'not set'}: a stage that fails is not tried again, whatever the pipeline asks"
        )
        yield Finding("Kubeflow retries", "warning", said, HARDENING)


def _policy(data: dict[str, str]) -> str:
    """`templateDefaults.retryStrategy.retryPolicy` of the workflow defaults, in either form of the ConfigMap."""
    try:
        config = yaml.safe_load(data.get("config") or "{}") or {}
        defaults = yaml.safe_load(data.get("workflowDefaults") or "{}") or config.get("workflowDefaults") or {}
        strategy = ((defaults.get("spec") or {}).get("templateDefaults") or {}).get("retryStrategy") or {}
        return str(strategy.get("retryPolicy") or "")
    except (yaml.YAMLError, AttributeError):
        return ""


def check_launcher(where: Where, kube: Kube) -> Iterator[Finding]:
    """Where runs execute, the launcher is told where artifacts go and by whose credentials."""
    found = kube.get(core(where.runs_in, "configmaps", "kfp-launcher"))
    if found is None:
        said = f"no ConfigMap kfp-launcher in {where.runs_in}: artifacts go where Kubeflow's own defaults say"
        yield Finding("Kubeflow launcher", "warning", said, "apply manifests/components/kfp-launcher in that namespace")
        return
    data = found.get("data") or {}
    try:
        providers = yaml.safe_load(data.get("providers") or "{}") or {}
    except yaml.YAMLError:
        yield Finding("Kubeflow launcher", "failed", "`providers` in kfp-launcher is no YAML", "every run fails by it")
        return
    defaults = [one.get("default") or {} for one in providers.values() if isinstance(one, dict)]
    if not data.get("defaultPipelineRoot") or not defaults:
        yield Finding("Kubeflow launcher", "warning", "kfp-launcher names no root or no provider", HARDENING)
    elif not all(one.get("region") for one in defaults):
        said = "a provider in kfp-launcher has no region: a user limited to a prefix gets 403"
        yield Finding("Kubeflow launcher", "failed", said, "add `region:` to it")
    elif lacking := [name for name in _secrets(providers) if kube.get(core(where.runs_in, "secrets", name)) is None]:
        said = f"kfp-launcher names a Secret that is not in {where.runs_in}: {', '.join(lacking)}"
        yield Finding("Kubeflow launcher", "failed", said, "docs/kubernetes.md lists the Secrets")
    else:
        yield Finding("Kubeflow launcher", "ok", f"artifacts go to {data['defaultPipelineRoot']}")


def _secrets(providers: Mapping[str, Any]) -> list[str]:
    """The Secrets whose credentials the launcher is told to use."""
    parts = [part for one in providers.values() for part in (one.get("default") or {}, *(one.get("overrides") or []))]
    named = [((part.get("credentials") or {}).get("secretRef") or {}).get("secretName") for part in parts]
    return sorted({str(name) for name in named if name})


def check_asked_who(where: Where) -> Iterator[Finding]:
    """Whether the API answers anybody; asked with readings alone."""
    url = where.kubeflow.rstrip("/")
    if not url:
        return
    path = f"{url}/apis/v2beta1/pipelines?page_size=1"
    reply = get(path)
    if reply.status == 200:
        said = f"{url} answers without asking who asks: whoever reaches it can upload and run pipelines"
        yield Finding("Kubeflow access", "warning", said, f"let only the gateway reach it (NetworkPolicy); {HARDENING}")
    elif reply.status and get(path, NOBODY).status == 200:
        said = f"{url} believes the identity header of a request that it knows nobody of"
        yield Finding(
            "Kubeflow access", "failed", said, "only your gateway may reach the API: a NetworkPolicy, or mTLS"
        )
    elif reply.status in REFUSED or 300 <= reply.status < 400:  # to a login
        yield Finding("Kubeflow access", "ok", "asks who asks")
    else:
        said = f"{url} lists no pipelines ({reply.why or reply.status}): whom it answers is not known"
        yield Finding("Kubeflow access", "not looked at", said)
