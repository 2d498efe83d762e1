"""The stage prepare as a KFP component."""

from kfp import dsl

from trimtab.core.kubeflow import stage_component


@stage_component
def prepare(
    config: str,
    data: dsl.Input[dsl.Dataset],
    judge: dsl.Input[dsl.Dataset],
    prepared: dsl.Output[dsl.Dataset],
    plan: str = "",
) -> None:
    from pathlib import Path

    from trimtab.core.metadata import plain
    from trimtab.core.run_plan import seeded
    from trimtab.core.runs import stage_record
    from trimtab.prepare.stage import PrepareConfig, prepare

    with stage_record("prepare") as record:
        asked = seeded(PrepareConfig.model_validate_json(config), plan)
        result = prepare(asked, Path(data.path), Path(judge.path), Path(prepared.path))
        record.result(
            figures={"rows": result.rows, "test_rows": result.test_rows, "folds": result.folds},
            artifacts={"prepared": result.digest},
        )
    prepared.metadata.update(plain({"digest": result.digest, "rows": result.rows, "record": record.prefix}))
