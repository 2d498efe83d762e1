"""`trimtab setup`: a MinIO's bucket, users and least-privilege policies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

# Whose prefix of Kubeflow's bucket the manifests name.
ARTIFACTS_USER = "artifacts-trimtab"


def setup(
    users: Annotated[
        Path | None,
        typer.Option(
            help="Folder with one folder a user (pipeline, server, …): access_key, secret_key.", envvar="TRIMTAB_USERS"
        ),
    ] = None,
    admin: Annotated[
        Path | None, typer.Option(help="Folder of the administrator's access_key and secret_key; by default AWS_*.")
    ] = None,
    artifacts: Annotated[
        str,
        typer.Option(help="Bucket of Kubeflow's artifacts, in which users `artifacts-<prefix>` have one prefix each."),
    ] = "",
    policies: Annotated[
        Path | None, typer.Option(help="Only write the policies there as JSON, for an S3 that another hand sets up.")
    ] = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait until the store answers.")] = 120.0,
) -> None:
    """Make the store's bucket (TRIMTAB_STORE), its users and what each may write; may be repeated."""
    from trimtab.core import grants
    from trimtab.core.errors import ProjectError
    from trimtab.core.settings import load
    from trimtab.core.store import admin as store_admin
    from trimtab.core.store import open_store, probe
    from trimtab.core.store.s3 import place_of

    settings = load()
    if not settings.store.startswith("s3://"):
        raise ProjectError(
            "only a store in S3 has users", object="TRIMTAB_STORE", expected="s3://bucket/prefix", got=settings.store
        )
    bucket, prefix = place_of(settings.store)
    if artifacts:
        place_of(f"s3://{artifacts}", "--artifacts")
    if policies is not None:
        known = list(store_admin.read_users(users)) if users else [ARTIFACTS_USER]
        names = [*grants.USERS, *(name for name in known if artifacts and name not in grants.USERS)]
        _write(policies, store_admin.policies(names, bucket, prefix, artifacts))
        return
    if users is None:
        raise ProjectError("whose users?", expected="--users FOLDER", hint="one folder a user, see `trimtab setup -h`")
    given = store_admin.read_users(users)
    wanted = store_admin.policies(list(given), bucket, prefix, artifacts)
    by = store_admin.read_credential(admin) if admin else None
    s3 = settings.s3._replace(access_key=by.access_key, secret_key=by.secret_key) if by else settings.s3
    minio = store_admin.Administrator(s3, typer.echo)
    minio.wait(wait)
    for name in dict.fromkeys(filter(None, (bucket, artifacts.strip("/").partition("/")[0]))):
        minio.bucket(name)
    for name, policy in wanted.items():
        minio.user(name, given[name], store_admin.policy_name(name, bucket, prefix), policy)
    for name in grants.USERS:
        if name in given:
            own = s3._replace(access_key=given[name].access_key, secret_key=given[name].secret_key)
            probe(open_store(settings.store, settings._replace(s3=own)), "setup")
    typer.echo(f"{settings.store} is ready for {', '.join(given)}")


def _write(folder: Path, policies: dict[str, dict[str, Any]]) -> None:
    import json

    from trimtab.core.errors import ProjectError

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, one in policies.items():
            (folder / f"{name}.json").write_text(json.dumps(one, indent=2) + "\n")
            typer.echo(str(folder / f"{name}.json"))
    except OSError as error:
        raise ProjectError(
            "the policies cannot be written there",
            object=str(error.filename or folder),
            expected="a folder",
            got=error.strerror or str(error),
        ) from None
