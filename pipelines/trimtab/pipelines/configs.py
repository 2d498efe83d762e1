"""What each stage is told, made from the project file: one JSON text a stage, the same text for the same file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from trimtab.core.records import canonical

if TYPE_CHECKING:
    from trimtab.core.blocks import Candidate
    from trimtab.core.project import Project


def _text(config: BaseModel) -> str:
    return canonical(config.model_dump(mode="json", by_alias=True)).decode()


class Configs:
    """The stages' settings of one graph.

    Args:
        project: the project file.
        seed: seed of split and training in place of the file's.
        code_version: what runs.
        candidates: names of the candidates to train; None for all.
        image: the stages' image.
    """

    def __init__(
        self,
        project: Project,
        *,
        seed: int | None = None,
        code_version: str = "",
        candidates: Sequence[str] | None = None,
        image: str = "",
    ) -> None:
        self._project = project
        self._given_seed = seed
        self._seed = project.data.seed if seed is None else seed
        self._code_version = code_version
        self._candidates = None if candidates is None else list(candidates)
        self._image = image

    def define(self) -> str:
        """The whole project, and what the run is."""
        from trimtab.define.claim import DefineConfig

        return _text(
            DefineConfig(
                project=self._project.canonical(),
                seed=self._given_seed,
                candidates=self._candidates,
                code_version=self._code_version,
                image=self._image,
            )
        )

    def ingest(self) -> str:
        """The source comes as a parameter from define."""
        from trimtab.ingest.stage import IngestConfig

        fields = {"name": self._project.name, "source": None, "schema": self._project.schema()}
        return _text(IngestConfig.model_validate(fields))

    def validate(self) -> str:
        """The schema as the file says it."""
        from trimtab.validate.stage import ValidateConfig

        return _text(ValidateConfig.model_validate({"schema": self._project.schema(), "task": self._task}))

    def prepare(self) -> str:
        """How the rows are split."""
        from trimtab.prepare.stage import PrepareConfig

        data = self._project.data
        return _text(
            PrepareConfig(task=self._task, test_fraction=data.test_fraction, folds=data.folds, seed=self._seed)
        )

    def baseline(self) -> str:
        """The metric that decides."""
        from trimtab.baseline.stage import BaselineConfig

        return _text(BaselineConfig(task=self._task, metric=self._project.metric))

    def train(self, candidate: Candidate) -> str:
        """One candidate."""
        from trimtab.train.stage import TrainConfig

        resources = self._project.resources
        return _text(
            TrainConfig(
                candidate=candidate,
                name=candidate.name,
                task=self._task,
                metric=self._project.metric,
                seed=self._seed,
                threads=resources.threads,
                accelerator="gpu" if resources.of("train").gpus[1] else "cpu",
                precision=resources.precision,
                deterministic=resources.deterministic,
            )
        )

    def evaluate(self, candidate: Candidate) -> str:
        """One candidate's figures."""
        from trimtab.evaluate.stage import EvaluateConfig

        return _text(
            EvaluateConfig(name=candidate.name, task=self._task, metric=self._project.metric, model=self._project.name)
        )

    def select(self) -> str:
        """What decides, and what must be reached."""
        from trimtab.select.stage import SelectConfig

        return _text(SelectConfig(task=self._task, metric=self._project.metric, gates=self._project.gates))

    def export(self) -> str:
        """What the report says."""
        from trimtab.export.stage import ExportConfig

        project = self._project
        return _text(
            ExportConfig(
                model=project.name,
                task=self._task,
                metric=project.metric,
                reference_rows=project.windows.reference_rows,
                statement=project.task.statement,
                rows_per_day=project.task.rows_per_day,
                seed=self._seed,
            )
        )

    def publish(self) -> str:
        """The whole project travels with the version; where it comes from is asked of the run record."""
        from trimtab.publish.stage import PublishConfig

        return _text(PublishConfig(model=self._project.name, lineage={}, project=self._project.canonical()))

    def deploy(self) -> str:
        """Whom to ask."""
        from trimtab.deploy.stage import DeployConfig

        return _text(DeployConfig(model=self._project.name))

    def code_of(self, candidate: Candidate) -> str:
        """Digest of a candidate's own code, where it has any: it belongs to the cache's key."""
        if not candidate.uses:
            return ""
        from trimtab.pipelines.versions import module_digest

        return module_digest(candidate.uses)

    @property
    def _task(self) -> Any:
        return self._project.task.kind
