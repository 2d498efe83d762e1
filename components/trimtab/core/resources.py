"""The block `resources` of the project file: what the stages' pods may use, where they run, and for how long."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from trimtab.core.policies import Block

StageName = Literal[
    "define",
    "ingest",
    "validate",
    "prepare",
    "baseline",
    "train",
    "evaluate",
    "select",
    "export",
    "publish",
    "deploy",
]
STAGES: tuple[StageName, ...] = get_args(StageName)
# The stages that compute on a GPU where they are given one; the others would only hold it idle.
GPU_STAGES = frozenset({"train"})
GPU = "nvidia.com/gpu"
SpotNodes = Literal["", "gke", "aks", "eks", "karpenter"]

_NAME = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_PREFIX = r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/"
_KEY = re.compile(f"({_PREFIX})?{_NAME}")
_VALUE = re.compile(f"({_NAME})?")


def _labels(value: dict[str, str]) -> dict[str, str]:
    for key, text in value.items():
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is no label: expected a name of at most 63 characters, or prefix/name")
        if not _VALUE.fullmatch(text):
            raise ValueError(f"{text!r} is no label's value: expected at most 63 of letters, digits, '-', '_', '.'")
    return value


def _own_labels(value: dict[str, str]) -> dict[str, str]:
    for key in _labels(value):
        prefix = key.rpartition("/")[0]
        if prefix == "trimtab" or re.fullmatch(r"(.*\.)?(kubernetes|k8s)\.io", prefix) or prefix.startswith("pipeline"):
            raise ValueError(
                f"{key!r} belongs to Trimtab, Kubernetes or Kubeflow: choose a prefix of your own, or none"
            )
    return value


Labels = Annotated[dict[str, str], AfterValidator(_labels)]


class Toleration(Block):
    """A taint that a pod puts up with, in Kubernetes' own terms."""

    key: str = Field(default="", description="the taint's key; empty with `Exists`: every taint")
    operator: Literal["Equal", "Exists"] = Field(default="Equal", description="how key and value are compared")
    value: str = Field(default="", description="the taint's value, for `Equal`")
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(
        default="", description="the taint's effect; empty: all"
    )

    @model_validator(mode="after")
    def _sense(self) -> Toleration:
        if self.operator == "Exists" and self.value:
            raise ValueError("`Exists` looks at the key alone: leave `value` out")
        if self.operator == "Equal" and not self.key:
            raise ValueError("`Equal` needs a key")
        return self


class Limits(Block):
    """What a stage's pod may use; nothing said: the stage's own default on a cluster."""

    cpu: float | None = Field(default=None, gt=0, description="CPU cores, asked for and allowed")
    memory: str = Field(
        default="", pattern=r"^$|^\d+(\.\d+)?([kKMGT]i?)?$", description="memory, asked for and allowed, e.g. `2Gi`"
    )
    accelerator: str = Field(
        default="", description="resource name of an accelerator, e.g. `nvidia.com/gpu`; above `stages` it is train's"
    )
    accelerators: int = Field(
        default=0, ge=0, le=64, description="how many accelerators (a fit uses one); 0 with `accelerator` named: one"
    )
    accelerator_type: str = Field(
        default="",
        description="which GPU: a value of the node label `nvidia.com/gpu.product`, or `label=value` of another one",
    )
    minutes: float | None = Field(default=None, gt=0, le=43_200, description="time limit of one try, minutes")
    retries: int | None = Field(
        default=None, ge=0, le=10, description="tries after the first (1; on spot nodes 3); see docs/pipelines.md"
    )
    spot: SpotNodes = Field(default="", description="run on spot nodes, as this cloud or autoscaler labels them")
    node_selector: Labels = Field(default_factory=dict, description="labels that the node must have")
    tolerations: tuple[Toleration, ...] = Field(
        default=(), description="taints that the pod puts up with: `{key, operator, value, effect}`"
    )

    @property
    def gpus(self) -> tuple[str, int]:
        """Resource name and number of the accelerators; number 0 where there is none."""
        if not self.accelerator and not self.accelerators:
            return "", 0
        return self.accelerator or GPU, self.accelerators or 1


_ACCELERATOR = {"accelerator", "accelerators", "accelerator_type"}


class Resources(Limits):
    """What the pipeline's pods may use, where they run and for how long, and exceptions by stage."""

    threads: int = Field(default=1, ge=1, le=256, description="threads of a fit (part of what makes it repeatable)")
    precision: Literal["auto", "float32"] = Field(
        default="auto", description="of a fit on a GPU: `auto` takes bfloat16 where the GPU has it"
    )
    deterministic: bool = Field(
        default=False, description="refuse what a GPU computes differently each time; slower (on the CPU always so)"
    )
    run_minutes: float = Field(
        default=1440, gt=0, le=43_200, description="time limit of a whole run on a cluster, minutes"
    )
    service_account: str = Field(
        default="pipeline-runner",
        pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$",
        description="Kubernetes service account of the run",
    )
    labels: Annotated[dict[str, str], AfterValidator(_own_labels)] = Field(
        default_factory=dict, description="labels of the pods, for cost reports, e.g. `{team: risk}`"
    )
    stages: dict[StageName, Limits] = Field(default_factory=dict, description="stage → its own limits")

    def of(self, stage: str) -> Limits:
        """The limits of one stage: its own where given, else the block's."""
        common = self.model_dump(
            include=set(Limits.model_fields) - (_ACCELERATOR if stage not in GPU_STAGES else set())
        )
        own = next((v for k, v in self.stages.items() if k == stage), None)
        return Limits.model_validate({**common, **(own.model_dump(exclude_unset=True) if own else {})})
