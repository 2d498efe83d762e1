"""Plays KFP's launcher inside a stage's pod: artifacts in, the compiled command, artifacts out.

It runs in the stage image, which has neither tests nor this repository: everything it needs is what that image holds.
As KFP's own it reads `kfp-launcher` and the S3 user named there with the pod's ServiceAccount, by prefix where the
ConfigMap has overrides, so a ServiceAccount or an S3 user with too few rights fails here as there.

Called as `python3 launch.py TASK.json`; TASK.json has `command`, `executor_input`, `root`, `namespace`.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def ask(path: str) -> Any:
    """An object of the Kubernetes API."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    token = (ACCOUNT / "token").read_text()
    request = urllib.request.Request(f"https://{host}:{port}{path}", headers={"Authorization": f"Bearer {token}"})
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    with urllib.request.urlopen(request, timeout=30, context=context) as answer:
        return json.load(answer)


def client(namespace: str, uri: str) -> Any:
    """An S3 client for a URI: the override whose bucket and prefix it has, else the default."""
    import yaml
    from minio import Minio

    told = ask(f"/api/v1/namespaces/{namespace}/configmaps/kfp-launcher")["data"]
    bucket, key = place(uri)
    provider = yaml.safe_load(told["providers"])[uri.partition("://")[0]]
    chosen = provider.get("default")
    for override in provider.get("overrides") or ():
        if override["bucketName"] == bucket and key.startswith(override["keyPrefix"]):
            chosen = override
    named = chosen["credentials"]["secretRef"]
    secret = ask(f"/api/v1/namespaces/{namespace}/secrets/{named['secretName']}")["data"]
    access, private = (base64.b64decode(secret[named[k]]).decode() for k in ("accessKeyKey", "secretKeyKey"))
    return Minio(chosen["endpoint"], access, private, secure=not chosen.get("disableSSL"), region=chosen["region"])


def place(uri: str) -> tuple[str, str]:
    """Bucket and key of a URI."""
    parts = urllib.parse.urlparse(uri)
    return parts.netloc, parts.path.lstrip("/")


def local(uri: str) -> Path:
    """Where KFP's SDK looks for an artifact: `minio://bucket/key` is at `/minio/bucket/key`."""
    parts = urllib.parse.urlparse(uri)
    return Path(f"/{parts.scheme}/{parts.netloc}{parts.path}")


def artifacts(group: dict[str, Any]) -> list[dict[str, Any]]:
    """All artifacts of inputs or outputs."""
    return [one for entry in (group.get("artifacts") or {}).values() for one in entry["artifacts"]]


def fetch(s3: Any, uri: str) -> None:
    """Bring a file or a folder; nothing where there is none."""
    (bucket, key), target = place(uri), local(uri)
    below = [o.object_name for o in s3.list_objects(bucket, f"{key}/", recursive=True)]
    for name in below:
        s3.fget_object(bucket, name, str(target / name.removeprefix(f"{key}/")))
    if not below and any(o.object_name == key for o in s3.list_objects(bucket, key)):
        s3.fget_object(bucket, key, str(target))


def keep(s3: Any, uri: str) -> None:
    """Take a file or a folder away; nothing where the command left nothing."""
    (bucket, key), source = place(uri), local(uri)
    if source.is_dir():
        for file in sorted(f for f in source.rglob("*") if f.is_file()):
            s3.fput_object(bucket, f"{key}/{file.relative_to(source)}", str(file))
    elif source.is_file():
        s3.fput_object(bucket, key, str(source))


def main(task_file: str) -> int:
    """Run one task; its exit status."""
    task = json.loads(Path(task_file).read_text())
    given, root = task["executor_input"], task["root"]
    s3 = client(task["namespace"], root)
    for artifact in artifacts(given["inputs"]):
        fetch(s3, artifact["uri"])
    outputs = given["outputs"]
    for artifact in artifacts(outputs):
        local(artifact["uri"]).parent.mkdir(parents=True, exist_ok=True)
    output_file = Path(outputs["outputFile"])
    parameters = {name: Path(entry["outputFile"]) for name, entry in (outputs.get("parameters") or {}).items()}
    for path in (output_file, *parameters.values()):
        path.parent.mkdir(parents=True, exist_ok=True)
    log = Path("/tmp/executor-logs-0")
    with log.open("wb") as kept:
        process = subprocess.Popen(task["command"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert process.stdout is not None
        for line in process.stdout:
            kept.write(line)
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
        code = process.wait()
    bucket, prefix = place(root)
    s3.fput_object(bucket, f"{prefix}/executor-logs-0", str(log))
    if code:
        return code
    for artifact in artifacts(outputs):
        keep(s3, artifact["uri"])
    output = json.loads(output_file.read_text()) if output_file.exists() else {}
    values = output.setdefault("parameterValues", {})
    for name, path in parameters.items():
        if name not in values and path.exists():
            values[name] = path.read_text()
    body = Path("/tmp/executor_output.json")
    body.write_text(json.dumps(output))
    s3.fput_object(bucket, f"{prefix}/executor_output.json", str(body))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
