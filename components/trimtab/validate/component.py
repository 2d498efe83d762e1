"""Validate as a KFP component: checked rows, checked judge rows, and a report."""

from kfp import dsl

from trimtab.core.kubeflow import stage_component


@stage_component
def validate(
    config: str,
    data: dsl.Input[dsl.Dataset],
    judge: dsl.Input[dsl.Dataset],
    checked: dsl.Output[dsl.Dataset],
    checked_judge: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
) -> None:
    from pathlib import Path

    from trimtab.core.metadata import plain
    from trimtab.core.runs import stage_record
    from trimtab.validate.stage import ValidateConfig, validate

    read = ValidateConfig.model_validate_json(config)
    with stage_record("validate") as record:
        result = validate(
            read, Path(data.path), Path(judge.path), Path(checked.path), Path(checked_judge.path), Path(report.path)
        )
        record.result(
            figures={
                "rows": result.rows,
                "left_out_rows": result.left_out_rows,
                "dropped": result.dropped,
                "warnings": list(result.warnings),
            },
            artifacts={"checked": result.digest, "checked_judge": result.judge_digest},
        )
    checked.metadata.update(plain({"digest": result.digest, "rows": result.rows, "record": record.prefix}))
    checked_judge.metadata.update(plain({"digest": result.judge_digest}))
