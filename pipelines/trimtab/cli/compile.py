"""`trimtab compile`: a project as the pipeline file that a Kubeflow cluster takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compile(  # noqa: A001 - the command is called so
    file: Annotated[Path, typer.Argument(help="the project file")] = Path("project.yaml"),
    out: Annotated[Path | None, typer.Option("--out", "-o", help="the YAML file to write")] = None,
    image: Annotated[str, typer.Option(help="the stages' image by digest [default: TRIMTAB_STAGE_IMAGE]")] = "",
    store: Annotated[str, typer.Option(help="the store the stages use [default: TRIMTAB_STORE]")] = "",
    components: Annotated[
        Path | None, typer.Option(help="write each stage as <stage>.yaml into this folder, and no pipeline")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="facts as JSON")] = False,
) -> None:
    """Compile a project into a Kubeflow pipeline (both YAML documents), ready to be uploaded.

    With --components, the stages as component files, for a pipeline of your own.
    """
    import json

    from rich.console import Console

    from trimtab.core import settings as environment
    from trimtab.core.errors import ProjectError
    from trimtab.core.project import load_project
    from trimtab.pipelines.compile import compile_project

    settings = environment.load()
    if components is not None:
        if out is not None:
            raise ProjectError(
                "--components writes no pipeline", object="--out", expected="one of the two", hint="leave one out"
            )
        _components(components, image or settings.stage_image, as_json)
        return
    project = load_project(file)
    done = compile_project(
        project,
        out or Path(f"{project.name}.yaml"),
        image=image or settings.stage_image,
        store=store or settings.store,
        s3_ca=settings.s3.ca_config_map,
    )
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "path": str(done.path),
                    "name": done.name,
                    "image": done.image,
                    "store": done.store,
                    "remarks": done.remarks,
                }
            )
        )
        return
    console = Console(soft_wrap=True)
    console.print(f"[bold]{done.path}[/]: pipeline {done.name}, image {done.image}")
    for remark in done.remarks:
        console.print(f"[yellow]note[/] {remark}")


def _components(folder: Path, image: str, as_json: bool) -> None:
    import json

    from rich.console import Console

    from trimtab.pipelines.component_files import write_components

    files = [str(f) for f in write_components(folder, image)]
    if as_json:
        typer.echo(json.dumps({"image": image, "components": files}))
    else:
        Console(soft_wrap=True).print(f"[bold]{folder}[/]: {len(files)} components, image {image}")
