"""Ingest as a KFP component: rows to train on, and rows to judge on."""

from kfp import dsl

from trimtab.core.kubeflow import stage_component


@stage_component
def ingest(
    config: str,
    source: str,
    data: dsl.Output[dsl.Dataset],
    judge: dsl.Output[dsl.Dataset],
) -> None:
    import json
    from pathlib import Path

    from trimtab.core import settings
    from trimtab.core.runs import stage_record
    from trimtab.core.store import open_store
    from trimtab.ingest.stage import IngestConfig, ingest

    env, read = settings.load(), IngestConfig.model_validate_json(config)
    if source:
        read = read.model_copy(update={"source": json.loads(source)})
    with stage_record("ingest") as record:
        result = ingest(read, open_store(env.store, env), Path(data.path), Path(judge.path))
        record.result(
            figures={"rows": result.rows, "judge_rows": result.judge_rows, "warnings": list(result.warnings)},
            artifacts={"data": result.digest, "judge": result.judge_digest},
        )
    data.metadata.update({"digest": result.digest, "rows": result.rows, "source_digest": result.source_digest})
    judge.metadata.update({"digest": result.judge_digest, "rows": result.judge_rows})
