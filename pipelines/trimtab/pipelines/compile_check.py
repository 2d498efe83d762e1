"""Whether a cluster can run a compiled pipeline: what its API accepts without a word and then never runs.

KFP's API takes broken IR, and a file that is no YAML keeps it busy for ever; so a package is read here first, by KFP's
own message types, whoever compiled it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.core.errors import ProjectError
from trimtab.core.kubeflow import UNSET_IMAGE

PARAMETER_BYTES = 64_000  # Kubernetes and the kernel refuse more than 100 kB, at some other place each time
PACKAGE_BYTES = 4_000_000
MOST_TASKS = 60  # a task is two pods and about 11 kB of a Workflow, which etcd bounds at 1.5 MB


@dataclass(frozen=True)
class Package:
    """A compiled pipeline that was read.

    Attributes:
        path: the file, for messages.
        ir: KFP's IR, the first document.
        platform: the second document; empty where there is none.
    """

    path: Path
    ir: dict[str, Any]
    platform: dict[str, Any]

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return str(self.ir.get("pipelineInfo", {}).get("name", ""))

    @property
    def parameters(self) -> dict[str, Any]:
        """The pipeline's parameters with their defaults; None where a value has to be given."""
        given = self.ir.get("root", {}).get("inputDefinitions", {}).get("parameters", {})
        return {name: p.get("defaultValue") for name, p in given.items()}

    @property
    def images(self) -> dict[str, str]:
        """The image of each executor that is a container."""
        found = self.ir.get("deploymentSpec", {}).get("executors", {})
        return {n: str(e["container"].get("image", "")) for n, e in found.items() if "container" in e}

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """What Kubernetes is told about each executor."""
        kubernetes = self.platform.get("platforms", {}).get("kubernetes", {})
        found = kubernetes.get("deploymentSpec", {}).get("executors", {})
        return dict(found) if isinstance(found, dict) else {}

    @property
    def run_timeout(self) -> float:
        """Seconds that a run may take, as it was compiled; 0 where nothing is said."""
        from trimtab.pipelines.tasks import ANNOTATION_TIMEOUT

        return float(self._annotation(ANNOTATION_TIMEOUT) or 0)

    @property
    def service_account(self) -> str:
        """The service account that the run should have; empty where nothing is said."""
        from trimtab.pipelines.tasks import ANNOTATION_ACCOUNT

        return self._annotation(ANNOTATION_ACCOUNT)

    def sizes(self) -> None:
        """Refuse parameters that are too large.

        Raises:
            ProjectError: one is, with its task and name.
        """
        for where, value in _constants(self.ir):
            _size(where, value)

    def _annotation(self, name: str) -> str:
        for executor in self.settings.values():
            value = executor.get("podMetadata", {}).get("annotations", {}).get(name)
            if value:
                return str(value)
        return ""


def read_package(path: Path) -> Package:
    """Read both documents of a compiled pipeline.

    Raises:
        ProjectError: it cannot be read, is no YAML, has a key twice, or is no compiled pipeline.
    """
    try:
        body = path.read_bytes()
    except OSError as error:
        raise ProjectError(
            "the compiled pipeline cannot be read", object=str(path), got=error.strerror or str(error)
        ) from None
    if len(body) > PACKAGE_BYTES:
        raise ProjectError(
            "too large for a compiled pipeline",
            object=str(path),
            expected=f"at most {PACKAGE_BYTES} bytes",
            got=str(len(body)),
        )
    documents = _documents(body, path)
    if not documents or not isinstance(documents[0], dict) or "pipelineInfo" not in documents[0]:
        raise ProjectError(
            "this is no compiled pipeline",
            object=str(path),
            expected="KFP's IR with pipelineInfo, deploymentSpec and root",
            hint="trimtab compile FILE writes one",
        )
    if len(documents) > 2:
        raise ProjectError(
            "more than the two documents of a compiled pipeline", object=str(path), got=str(len(documents))
        )
    second = documents[1] if len(documents) == 2 else {}
    if not isinstance(second, dict) or (second and "platforms" not in second):
        raise ProjectError(
            "the second document is no platform configuration", object=str(path), expected="the key platforms"
        )
    return Package(path, documents[0], second)


def check_package(path: Path) -> Package:
    """Read a compiled pipeline, and refuse what a cluster would accept and then not run.

    Args:
        path: the file, made by `trimtab compile` or by KFP's own compiler.

    Returns:
        Both documents.

    Raises:
        ProjectError: it cannot run, with the reason.
    """
    package = read_package(path)
    if not package.platform:
        raise ProjectError(
            "the second document is missing: secrets, places and time limits are in it",
            object=str(path),
            expected="two documents, separated by ---",
            hint="some tool that rewrote the file kept one; compile it again with trimtab compile",
        )
    _spec(package)
    _graph(package)
    _platform(package)
    _images(package)
    package.sizes()
    _root(package)
    return package


def check_arguments(package: Package, arguments: Mapping[str, Any]) -> None:
    """Refuse arguments of a run that the pipeline does not have, or that are too large to be handed to a task.

    Raises:
        ProjectError: one is unknown, missing or too large.
    """
    for name, value in arguments.items():
        if name not in package.parameters:
            raise ProjectError(
                f"the pipeline has no parameter {name}", object=package.name, expected=", ".join(package.parameters)
            )
        _size(f"parameter {name}", value)
    missing = [n for n, default in package.parameters.items() if default is None and n not in arguments]
    if missing:
        raise ProjectError("a parameter has neither default nor value", object=package.name, expected=missing[0])


def _documents(body: bytes, path: Path) -> list[Any]:
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        """The safe loader that refuses a key given twice, which every YAML reader here would take silently."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen: set[str] = set()
            for key, _ in node.value:
                name = str(key.value)
                if name in seen:
                    raise ProjectError(
                        f"line {key.start_mark.line + 1}: the key {name!r} is given twice", object=str(path)
                    )
                seen.add(name)
            return super().construct_mapping(node, deep)

    try:
        return [d for d in yaml.load_all(body, Loader=Loader) if d is not None]
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ProjectError(
            f"line {line} is no YAML: {error.problem or error.context}", object=str(path), hint="compile it again"
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        raise ProjectError(f"this is no YAML: {error}", object=str(path), hint="compile it again") from None


def _spec(package: Package) -> None:
    """The IR by KFP's own message: an unknown field is one that this KFP would drop."""
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    try:
        json_format.ParseDict(package.ir, pipeline_spec_pb2.PipelineSpec())  # pyright: ignore[reportAttributeAccessIssue]
    except json_format.ParseError as error:
        raise ProjectError(
            f"KFP does not know this: {error}",
            object=str(package.path),
            hint="compile it with the KFP that is installed here",
        ) from None


def _graph(package: Package) -> None:
    """Every task has its component, every component its executor or tasks of its own; and they are not too many."""
    components = package.ir.get("components", {})
    executors = package.ir.get("deploymentSpec", {}).get("executors", {})
    count = 0
    for where, dag in _dags(package.ir):
        for name, task in dag.get("tasks", {}).items():
            count += 1
            reference = task.get("componentRef", {}).get("name", "")
            if reference not in components:
                raise ProjectError(
                    f"task {where}{name} has no component",
                    object=str(package.path),
                    expected=f"components.{reference or '<name>'}",
                )
    if not count:
        raise ProjectError("the pipeline has no task", object=str(package.path))
    if count > MOST_TASKS:
        raise ProjectError(
            "too many tasks for one run",
            object=package.name,
            expected=f"at most {MOST_TASKS}",
            got=str(count),
            hint="train fewer candidates in one run: trimtab run --candidate, or take some out of the file",
        )
    for name, component in components.items():
        label = component.get("executorLabel", "")
        if label and label not in executors:
            raise ProjectError(
                f"component {name} has no executor",
                object=str(package.path),
                expected=f"deploymentSpec.executors.{label}",
            )
        if not label and "dag" not in component:
            raise ProjectError(f"component {name} has neither executor nor tasks", object=str(package.path))


def _platform(package: Package) -> None:
    """What Kubernetes is told, by kfp-kubernetes' own message, for executors that there are."""
    from google.protobuf import json_format
    from kfp.kubernetes import kubernetes_executor_config_pb2 as messages
    from kfp.pipeline_spec import pipeline_spec_pb2

    try:
        json_format.ParseDict(package.platform, pipeline_spec_pb2.PlatformSpec())  # pyright: ignore[reportAttributeAccessIssue]
    except json_format.ParseError as error:
        raise ProjectError(f"the second document: KFP does not know this: {error}", object=str(package.path)) from None
    other = sorted(set(package.platform["platforms"]) - {"kubernetes"})
    if other:
        raise ProjectError(f"the platform {other[0]} is none of a cluster's", expected="kubernetes", got=other[0])
    executors = package.ir.get("deploymentSpec", {}).get("executors", {})
    for name, settings in package.settings.items():
        if name not in executors:
            raise ProjectError(
                f"the second document configures {name}, and the pipeline has no such executor",
                object=str(package.path),
                expected=", ".join(sorted(executors)[:12]),
            )
        try:
            json_format.ParseDict(settings, messages.KubernetesExecutorConfig())  # pyright: ignore[reportAttributeAccessIssue]
        except json_format.ParseError as error:
            raise ProjectError(
                f"{name}: kfp-kubernetes does not know this: {error}",
                object=str(package.path),
                hint="the backend would drop it silently",
            ) from None


def _images(package: Package) -> None:
    from trimtab.pipelines.compile import pinned

    for name, image in package.images.items():
        if image in ("", UNSET_IMAGE):
            raise ProjectError(
                f"{name} has no image",
                object=str(package.path),
                hint="make images REGISTRY=… builds and pushes one and prints it by digest: trimtab compile --image …",
            )
        pinned(image)


def _root(package: Package) -> None:
    root = str(package.ir.get("defaultPipelineRoot", ""))
    scheme, _, rest = root.partition("://")
    if root and (scheme not in ("s3", "minio", "gs") or not rest):
        raise ProjectError(
            "the defaultPipelineRoot has no scheme that KFP knows",
            object=str(package.path),
            expected="s3://bucket/prefix, minio://… or gs://…",
            got=root,
        )


def _dags(ir: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "", ir.get("root", {}).get("dag", {})
    for name, component in ir.get("components", {}).items():
        if "dag" in component:
            yield f"{name}/", component["dag"]


def _constants(ir: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every value that the package itself holds for a parameter."""
    for where, dag in _dags(ir):
        for task, spec in dag.get("tasks", {}).items():
            for name, value in spec.get("inputs", {}).get("parameters", {}).items():
                yield f"{where}{task}: parameter {name}", value.get("runtimeValue", {}).get("constant")
    for owner, spec in [("root", ir.get("root", {})), *ir.get("components", {}).items()]:
        for name, value in spec.get("inputDefinitions", {}).get("parameters", {}).items():
            yield f"{owner}: default of {name}", value.get("defaultValue")


def _size(where: str, value: Any) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    size = len(text.encode())
    if size > PARAMETER_BYTES:
        raise ProjectError(
            f"{where} is too large to be handed to a task",
            expected=f"at most {PARAMETER_BYTES} bytes",
            got=str(size),
            hint="a project file this long names data that belong into a dataset: categories, classes, or files",
        )
