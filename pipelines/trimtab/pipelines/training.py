"""The training pipeline as a Kubeflow graph.

 1. define     claims the run, fixes the data, states the problem (never cached; alone given `key` and `reason`)
 2. ingest     reads the fixed source into a dataset, and the rows to be judged on into another
 3. validate   holds both to the schema, and resolves what the file left open
 4. prepare    splits off the sealed test, makes folds, learns the preprocessing
 5. baseline   the score of doing nothing clever
 6. train      for each candidate, a branch of its own: fit, with honest predictions of held-out rows
 7. evaluate   for each candidate: its figures, and champion against challenger on the rows to be judged on
 8. select     picks one, and opens the sealed test once
 9. export     the winner as an ONNX graph with the preprocessing inside, held to the original's outputs
10. publish    signs it into the store as a version (never cached: the store is the truth)
11. deploy     asks for a rollout of what passed (never cached)

Settings are baked in when the graph is built; `data`, `key`, `reason`, `release` are parameters with defaults, so
that Kubeflow's own UI, client and schedules start it as well as we do.
"""

# No `from __future__ import annotations` here: KFP reads the pipeline function's annotations as types.
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trimtab.core.errors import ProjectError
from trimtab.pipelines.configs import Configs
from trimtab.pipelines.steps import Step

if TYPE_CHECKING:
    from trimtab.core.blocks import Candidate
    from trimtab.core.project import Project

MOST_CANDIDATES = 8


def chosen(project: "Project", names: Sequence[str] | None) -> "list[Candidate]":
    """The candidates to train, in the file's order.

    Args:
        project: the project file.
        names: their names; None takes all.

    Raises:
        ProjectError: a name is not in the file, or they are too many for one run.
    """
    unknown = [n for n in names or () if n not in project.candidates]
    if unknown:
        raise ProjectError(
            f"no candidate is called {unknown[0]}", object=project.name, expected=", ".join(project.candidates)
        )
    found = [c for name, c in project.candidates.items() if names is None or name in names]
    if not 1 <= len(found) <= MOST_CANDIDATES:
        raise ProjectError(
            "a run trains one to eight candidates",
            object=project.name,
            got=f"{len(found)}: {', '.join(c.name for c in found)}",
            hint="name some with --candidate, or take some out of the file",
        )
    return found


@dataclass
class _Tasks:
    """Tasks made so far, with what each of them is a step of."""

    image: str
    steps: list[tuple[Any, Step]]

    def add(self, task: Any, stage: str, candidate: str = "", cached: bool = True) -> Any:
        """Take a task in, with what every task needs."""
        task.set_caching_options(cached)
        if self.image:
            task.set_container_image(self.image)
        if candidate:
            task.set_display_name(f"{stage} {candidate}")
        self.steps.append((task, Step(stage, candidate)))
        return task


def build(
    project: "Project",
    *,
    image: str = "",
    code_version: str = "",
    seed: int | None = None,
    candidates: Sequence[str] | None = None,
    salt: str = "",
    finish: Any = None,
) -> Any:
    """Build the graph of a project.

    Args:
        project: the project file.
        image: the stages' image, by digest; locally a name that changes with the code, since the cache keys on it.
        code_version: what runs, for the run's request.
        seed: seed of split and training in place of the file's.
        candidates: names of the candidates to train; None takes all.
        salt: makes every stage run once more.
        finish: called with each (task, step) when the graph is whole, for what only a cluster needs.

    Returns:
        A KFP pipeline (kfp has no types for it); `component_steps` says which component is which step.

    Raises:
        ProjectError: a candidate is unknown.
    """
    from kfp import dsl

    from trimtab.baseline.component import baseline
    from trimtab.define.component import define
    from trimtab.deploy.component import deploy
    from trimtab.evaluate.component import evaluate
    from trimtab.export.component import export
    from trimtab.ingest.component import ingest
    from trimtab.prepare.component import prepare
    from trimtab.publish.component import publish
    from trimtab.select.component import select
    from trimtab.train.component import train
    from trimtab.validate.component import validate

    branches = chosen(project, candidates)
    configs = Configs(project, seed=seed, code_version=code_version, candidates=candidates, image=image)
    tasks = _Tasks(image, [])
    description = project.task.statement or f"Trains {project.name}."

    def training(data: str = "", key: str = "", reason: str = "", release: str = "ask") -> None:
        add = tasks.add
        defined = add(
            define(config=configs.define(), key=key, data=data, reason=reason, release=release), "define", cached=False
        )
        plan = defined.outputs["plan"]
        read = add(ingest(config=configs.ingest(), source=defined.outputs["source"]), "ingest")
        if salt:
            read.set_env_variable("TRIMTAB_SALT", salt)
        checked = add(
            validate(config=configs.validate(), data=read.outputs["data"], judge=read.outputs["judge"]), "validate"
        )
        rows, judge = checked.outputs["checked"], checked.outputs["checked_judge"]
        split = add(prepare(config=configs.prepare(), data=rows, judge=judge, plan=plan), "prepare")
        prepared = split.outputs["prepared"]
        naive = add(baseline(config=configs.baseline(), prepared=prepared), "baseline")
        slots: dict[str, Any] = {}
        for n, candidate in enumerate(branches, 1):
            fitted = add(train(config=configs.train(candidate), prepared=prepared, plan=plan), "train", candidate.name)
            code = configs.code_of(candidate)
            if code:
                fitted.set_env_variable("TRIMTAB_CANDIDATE_CODE", code)
            scored = add(
                evaluate(
                    config=configs.evaluate(candidate), prepared=prepared, model=fitted.outputs["model"], judge=judge
                ),
                "evaluate",
                candidate.name,
            )
            slots |= {f"model_{n}": fitted.outputs["model"], f"evaluation_{n}": scored.outputs["evaluation"]}
        won = add(
            select(config=configs.select(), prepared=prepared, baseline=naive.outputs["baseline"], **slots), "select"
        )
        exported = add(
            export(
                config=configs.export(),
                model=won.outputs["model"],
                prepared=prepared,
                selection=won.outputs["selection"],
                plan=plan,
            ),
            "export",
        )
        published = add(
            publish(
                config=configs.publish(),
                bundle=exported.outputs["bundle"],
                selection=won.outputs["selection"],
                data=read.outputs["data"],
            ),
            "publish",
            cached=False,
        )
        add(
            deploy(
                config=configs.deploy(),
                version=published.outputs["Output"],
                passed=won.outputs["passed"],
                release=release,
            ),
            "deploy",
            cached=False,
        )
        for task, step in tasks.steps:
            if finish is not None:
                finish(task, step)

    # KFP looks at the whole stack at each setting of a task, and `inspect` goes through all modules for each frame that
    # is of no file, as those of `python -m` are. A thread begins with a stack of its own.
    with ThreadPoolExecutor(1) as apart:
        graph: Any = apart.submit(dsl.pipeline(name=project.name, description=description), training).result()
    graph.trimtab_steps = {task.name: step for task, step in tasks.steps}
    return graph


def component_steps(graph: Any) -> dict[str, Step]:
    """Which step each component of a built graph is (KFP's local runner and cache name components)."""
    named: dict[str, Step] = graph.trimtab_steps
    tasks = graph.pipeline_spec.root.dag.tasks
    return {tasks[name].component_ref.name: step for name, step in named.items()}
