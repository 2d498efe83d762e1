"""A pipeline of one's own from Trimtab's stages, with a component of one's own between prepare and train.

Run it on this machine with `python pipeline.py`, or give `own` to KFP's compiler.
"""

from pathlib import Path

from kfp import dsl

from trimtab.core.project import load_project
from trimtab.ingest.component import ingest
from trimtab.pipelines.configs import Configs
from trimtab.prepare.component import prepare
from trimtab.train.component import train
from trimtab.validate.component import validate

PROJECT = load_project(Path(__file__).with_name("project.yaml"))
CONFIGS = Configs(PROJECT)


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def without_outliers(prepared: dsl.Input[dsl.Dataset], kept: dsl.Output[dsl.Dataset], limit: float = 6.0) -> None:
    """Leave out training rows with a value more than so many median absolute deviations from the middle."""
    from pathlib import Path

    import numpy as np

    from trimtab.core.datasets import write_dataset
    from trimtab.core.prepared import Prepared

    data = Prepared.load(Path(prepared.path))
    values = np.column_stack([data.table.column(f.name).to_numpy() for f in data.schema.features])
    middle = np.nanmedian(values, axis=0)
    spread = np.nanmedian(np.abs(values - middle), axis=0)
    far = (np.abs(values - middle) > limit * spread).any(axis=1)
    far[data.test_rows] = False  # the sealed test stays as the world sent it
    write_dataset(Path(kept.path), [data.table.filter(~far)], data.schema)
    data.preprocessing.save(Path(kept.path))
    kept.metadata["left_out"] = int(far.sum())


@dsl.pipeline(name="own")
def own(source: str = '{"sources": [{"sklearn": "wine"}]}', limit: float = 6.0) -> None:
    """Ingest, validate and prepare, then our own component, then train."""
    rows = ingest(config=CONFIGS.ingest(), source=source)
    checked = validate(config=CONFIGS.validate(), data=rows.outputs["data"], judge=rows.outputs["judge"])
    split = prepare(config=CONFIGS.prepare(), data=checked.outputs["checked"], judge=checked.outputs["checked_judge"])
    kept = without_outliers(prepared=split.outputs["prepared"], limit=limit)
    for candidate in PROJECT.candidates.values():
        train(config=CONFIGS.train(candidate), prepared=kept.outputs["kept"])


if __name__ == "__main__":
    from kfp import local

    local.init(local.SubprocessRunner(use_venv=False), pipeline_root="own-pipeline")
    own()
