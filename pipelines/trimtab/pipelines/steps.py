"""The steps of the training pipeline by name, for progress and records; the graph itself is in `training`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One task of the pipeline: a stage, for one candidate where there is a branch for each."""

    stage: str
    candidate: str = ""

    @property
    def name(self) -> str:
        """As in records: `train.mlp`, `select`."""
        return f"{self.stage}.{self.candidate}" if self.candidate else self.stage

    @classmethod
    def parse(cls, name: str) -> Step:
        """The step of that name.

        >>> Step.parse("train.mlp")
        Step(stage='train', candidate='mlp')
        """
        stage, _, candidate = name.partition(".")
        return cls(stage, candidate)


BEFORE = ("define", "ingest", "validate", "prepare", "baseline")
BRANCH = ("train", "evaluate")
AFTER = ("select", "export", "publish", "deploy")


def steps(candidates: Sequence[str]) -> list[Step]:
    """All steps of a run in the order of the graph.

    >>> [s.name for s in steps(["mlp"])][4:8]
    ['baseline', 'train.mlp', 'evaluate.mlp', 'select']
    """
    branches = [Step(stage, candidate) for candidate in candidates for stage in BRANCH]
    return [*(Step(s) for s in BEFORE), *branches, *(Step(s) for s in AFTER)]
