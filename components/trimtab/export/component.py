"""The stage export as a KFP component."""

from kfp import dsl

from trimtab.core.kubeflow import stage_component


@stage_component
def export(
    config: str,
    model: dsl.Input[dsl.Model],
    prepared: dsl.Input[dsl.Dataset],
    selection: dsl.Input[dsl.Artifact],
    bundle: dsl.Output[dsl.Model],
    report: dsl.Output[dsl.HTML],
    plan: str = "",
) -> None:
    import shutil
    from pathlib import Path

    from trimtab.core.metadata import plain
    from trimtab.core.run_plan import seeded
    from trimtab.core.runs import stage_record
    from trimtab.export.stage import ExportConfig, export

    with stage_record("export") as record:
        out = Path(bundle.path)
        asked = seeded(ExportConfig.model_validate_json(config), plan)
        result = export(asked, Path(model.path), Path(prepared.path), Path(selection.path), out)
        shutil.copyfile(out / "report.html", report.path)
        record.result(
            figures={"parity": result.parity, "parity_rows": result.rows, "files": list(result.files)},
            artifacts={"bundle": result.digest},
        )
    bundle.metadata.update(plain({"digest": result.digest, "parity": result.parity, "record": record.prefix}))
