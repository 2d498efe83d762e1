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
    from pathlib import Path

    from trimtab.core import settings
    from trimtab.core.metadata import plain
    from trimtab.core.run_sources import from_parameter
    from trimtab.core.runs import stage_record
    from trimtab.core.store import open_store
    from trimtab.ingest.stage import IngestConfig, ingest

    env, read = settings.load(), IngestConfig.model_validate_json(config)
    with stage_record("ingest") as record:
        store = open_store(env.store, env)
        if source:
            read = read.model_copy(update={"source": from_parameter(source, store)})
        result = ingest(read, store, Path(data.path), Path(judge.path))
        record.result(
            figures={"rows": result.rows, "judge_rows": result.judge_rows, "warnings": list(result.warnings)},
            artifacts={"data": result.digest, "judge": result.judge_digest},
        )
    facts = {"digest": result.digest, "rows": result.rows, "source_digest": result.source_digest}
    data.metadata.update(plain({**facts, "record": record.prefix}))
    judge.metadata.update(plain({"digest": result.judge_digest, "rows": result.judge_rows}))
