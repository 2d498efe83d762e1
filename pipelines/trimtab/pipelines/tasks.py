"""What each task of a compiled pipeline is given on a cluster: resources, place, retries, time, secrets, labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trimtab.core.resources import Limits, Toleration

if TYPE_CHECKING:
    from trimtab.core.project import Project
    from trimtab.core.resources import Resources
    from trimtab.pipelines.steps import Step

# What the stages find on a cluster: secrets of the pipeline's namespace, made by whoever runs it.
S3_SECRET = "trimtab-s3-pipeline"  # noqa: S105 - the name of a secret
S3_KEYS = {
    "access_key": "AWS_ACCESS_KEY_ID",
    "secret_key": "AWS_SECRET_ACCESS_KEY",
    "endpoint": "AWS_ENDPOINT_URL",
    "region": "AWS_REGION",
}
SIGNING_SECRET = "trimtab-signing"  # noqa: S105 - the name of a secret
SIGNING_FOLDER = "/etc/trimtab/signing"
TRUSTED_CONFIG_MAP = "trimtab-trusted-keys"
TRUSTED_FOLDER = "/etc/trimtab/trusted"
S3_CA_FOLDER = "/etc/trimtab/s3-ca"
RUN_ID_FIELD = "metadata.labels['pipeline/runid']"

# A stage that is over its time ends itself and says so; Kubernetes ends what cannot, after this long.
GRACE_SECONDS = 120
ANNOTATION_TIMEOUT = "trimtab/run-timeout-seconds"
ANNOTATION_ACCOUNT = "trimtab/service-account"

# Retries help against nodes that go away and stores that do not answer; a mistake is not tried again
# (`core.stage_records`).
RETRIES, SPOT_RETRIES = 1, 3
BACKOFF = {"backoff_duration": "15s", "backoff_factor": 2.0, "backoff_max_duration": "600s"}

# Where a cloud or autoscaler runs spot nodes: the label they carry, and whether a taint of the same name keeps others
# away.
SPOT: dict[str, tuple[str, str, bool]] = {
    "gke": ("cloud.google.com/gke-spot", "true", True),
    "aks": ("kubernetes.azure.com/scalesetpriority", "spot", True),
    "eks": ("eks.amazonaws.com/capacityType", "SPOT", False),
    "karpenter": ("karpenter.sh/capacity-type", "spot", False),
}
GPU_PRODUCT = "nvidia.com/gpu.product"  # set by NVIDIA's GPU feature discovery


@dataclass(frozen=True)
class Default:
    """What a stage gets where the file says nothing: CPU asked for and allowed, memory, minutes."""

    cpu: float
    cpu_limit: float
    memory: str
    minutes: float


_LIGHT = Default(0.1, 1, "1Gi", 30)
_ROWS = Default(0.25, 2, "2Gi", 120)
DEFAULTS: dict[str, Default] = {
    "define": _LIGHT,
    "ingest": _ROWS,
    "validate": _ROWS,
    "prepare": _ROWS,
    "baseline": _ROWS,
    "train": Default(0, 0, "4Gi", 720),  # its threads are its CPUs
    "evaluate": _ROWS,
    "select": _ROWS,
    "export": Default(0.25, 2, "3Gi", 60),
    "publish": _LIGHT,
    "deploy": _LIGHT,
}


def for_cluster(project: Project, task: Any, step: Step, store: str, s3_ca: str = "") -> None:
    """Give a task of a graph what it needs on a cluster.

    Args:
        project: the project file.
        task: KFP's task, changed in place.
        step: which step of the pipeline it is.
        store: URL of the store that it uses; empty leaves it to the image.
        s3_ca: ConfigMap whose key `ca.crt` holds the CA of the S3's certificate; empty where that is a public one.
    """
    limits = project.resources.of(step.stage)
    _resources(task, limits, DEFAULTS[step.stage], project.resources.threads)
    _place(task, limits)
    retries = limits.retries if limits.retries is not None else SPOT_RETRIES if limits.spot else RETRIES
    if retries:
        task.set_retry(retries, **BACKOFF)
    _time(task, limits, DEFAULTS[step.stage], project.resources)
    _environment(task, step, project.resources, store)
    if s3_ca:
        _trust(task, s3_ca)
    _labels(task, project, step)


def _resources(task: Any, limits: Limits, default: Default, threads: int) -> None:
    if limits.cpu:
        asked = allowed = limits.cpu
    else:
        asked, allowed = default.cpu or float(threads), default.cpu_limit or float(threads)
    task.set_cpu_request(_cpu(asked)).set_cpu_limit(_cpu(allowed))
    # Memory that is not asked for is what a node kills pods over, so both are one figure.
    memory = (limits.memory or default.memory).replace("k", "K")
    task.set_memory_request(memory).set_memory_limit(memory)
    resource, count = limits.gpus
    if count:
        task.set_accelerator_type(resource).set_accelerator_limit(count)


def _cpu(cores: float) -> str:
    return f"{cores:g}" if cores >= 1 else f"{max(1, round(cores * 1000))}m"


def _place(task: Any, limits: Limits) -> None:
    from kfp import kubernetes

    selector, tolerations = dict(limits.node_selector), list(limits.tolerations)
    resource, count = limits.gpus
    if count:
        # Clouds keep other pods off GPU nodes by a taint named after the resource.
        tolerations.append(Toleration(key=resource, operator="Exists", effect="NoSchedule"))
        if limits.accelerator_type:
            label, _, value = limits.accelerator_type.rpartition("=")
            selector.setdefault(label or GPU_PRODUCT, value)
    if limits.spot:
        label, value, tainted = SPOT[limits.spot]
        selector.setdefault(label, value)
        if tainted:
            tolerations.append(Toleration(key=label, value=value, effect="NoSchedule"))
    for label in sorted(selector):
        kubernetes.add_node_selector(task, label, selector[label])
    for t in dict.fromkeys(tolerations):
        kubernetes.add_toleration(
            task, key=t.key or None, operator=t.operator, value=t.value or None, effect=t.effect or None
        )


def _time(task: Any, limits: Limits, default: Default, resources: Resources) -> None:
    from kfp import kubernetes

    minutes = min(limits.minutes or default.minutes, resources.run_minutes)
    kubernetes.set_timeout(task, max(1, round(minutes * 60)) + GRACE_SECONDS)
    task.set_env_variable("TRIMTAB_STAGE_TIMEOUT", str(max(1, round(minutes * 60))))
    # KFP's IR has no limit for a run: each task looks at the clock, and `submit` ends what is over.
    seconds = str(max(1, round(resources.run_minutes * 60)))
    task.set_env_variable("TRIMTAB_RUN_TIMEOUT", seconds)
    kubernetes.add_pod_annotation(task, ANNOTATION_TIMEOUT, seconds)
    kubernetes.add_pod_annotation(task, ANNOTATION_ACCOUNT, resources.service_account)


def _environment(task: Any, step: Step, resources: Resources, store: str) -> None:
    from kfp import kubernetes

    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        task.set_env_variable(name, str(resources.threads))
    task.set_env_variable("DO_NOT_TRACK", "1")
    if resources.deterministic and step.stage == "train":
        task.set_env_variable("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats itself only with it
    if store:
        task.set_env_variable("TRIMTAB_STORE", store)
    kubernetes.use_field_path_as_env(task, "TRIMTAB_RUN_ID", RUN_ID_FIELD)
    kubernetes.use_secret_as_env(task, S3_SECRET, S3_KEYS)
    if step.stage == "publish":
        kubernetes.use_secret_as_volume(task, SIGNING_SECRET, SIGNING_FOLDER)
        task.set_env_variable("TRIMTAB_SIGNING_KEY", f"{SIGNING_FOLDER}/signing.pem")
    if step.stage == "evaluate":
        # A campaign's challenger is compared with the champion, whose signature is checked first. A namespace without
        # the keys can train all the same.
        kubernetes.use_config_map_as_volume(task, TRUSTED_CONFIG_MAP, TRUSTED_FOLDER, optional=True)
        task.set_env_variable("TRIMTAB_TRUSTED_KEYS", TRUSTED_FOLDER)


def _trust(task: Any, s3_ca: str) -> None:
    from kfp import kubernetes

    kubernetes.use_config_map_as_volume(task, s3_ca, S3_CA_FOLDER)
    task.set_env_variable("AWS_CA_BUNDLE", f"{S3_CA_FOLDER}/ca.crt")


def _labels(task: Any, project: Project, step: Step) -> None:
    from kfp import kubernetes

    labels = {
        "app.kubernetes.io/name": "trimtab-stage",
        "app.kubernetes.io/part-of": "trimtab",
        "trimtab/project": project.name,
        "trimtab/stage": step.stage,
    }
    if step.candidate:
        labels["trimtab/candidate"] = step.candidate
    for label, value in {**project.resources.labels, **labels}.items():
        kubernetes.add_pod_label(task, label, value)
