"""The overlay of the loop's node, and the secrets it needs: our own manifests, with what differs on this node."""

from __future__ import annotations

import base64
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trimtab.core import settings as settings_module
from trimtab.core.signing import ensure_keypair
from trimtab.core.tokens import ensure_token

MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"
_COMPONENTS = MANIFESTS / "components"
STORE = "s3://trimtab/store"
# Everything looks once a second: a window of the loop takes a few seconds, not a day.
POLL = "--poll-seconds=1"


@dataclass(frozen=True)
class Images:
    """Names of the images on the node."""

    server: str
    monitor: str
    stage: str
    minio: str


@dataclass(frozen=True)
class Keys:
    """What was made for one loop.

    Attributes:
        home: folder with the signing key, the trusted keys and the tokens.
        s3: access key and secret key by S3 user; `root` is MinIO's own.
        token: the bearer token that hook and servers accept.
    """

    home: Path
    s3: dict[str, tuple[str, str]]
    token: str


def make_keys(home: Path) -> Keys:
    """Make every key and token, all new."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings = settings_module.load(environment(home))
    ensure_keypair(settings)
    users = {name: (f"{name}-{secrets.token_hex(4)}", secrets.token_hex(20)) for name in (*_users(), "root")}
    return Keys(home, users, ensure_token(settings))


def environment(home: Path) -> dict[str, str]:
    """The variables by which keys and tokens are found in a folder."""
    return {
        "TRIMTAB_HOME": str(home),
        "TRIMTAB_SIGNING_KEY": str(home / "signing.pem"),
        "TRIMTAB_TRUSTED_KEYS": str(home / "trusted"),
        "TRIMTAB_TOKENS": str(home / "tokens.json"),
        "TRIMTAB_TOKEN_FILE": str(home / "token"),
    }


def secrets_of(keys: Keys, endpoint: str) -> list[dict[str, Any]]:
    """The Secrets and the ConfigMap that docs tell a user to make.

    Args:
        keys: as made.
        endpoint: the store's, as pods reach it.
    """
    found = [
        _secret(
            f"trimtab-s3-{user}",
            {"access_key": access, "secret_key": secret, "endpoint": endpoint, "region": "us-east-1"},
        )
        for user, (access, secret) in keys.s3.items()
        if user != "root"
    ]
    access, secret = keys.s3["root"]
    found.append(_secret("trimtab-minio-root", {"access_key": access, "secret_key": secret}))
    found.append(_secret("trimtab-signing", {"signing.pem": (keys.home / "signing.pem").read_text()}))
    tokens = {name: (keys.home / name).read_text() for name in ("tokens.json", "token")}
    found += [_secret("trimtab-tokens", tokens), _secret("trimtab-server-tokens", tokens)]
    trusted = {path.name: path.read_text() for path in sorted((keys.home / "trusted").iterdir())}
    found.append(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "trimtab-trusted-keys"}, "data": trusted}
    )
    return found


def write(folder: Path, namespace: str, images: Images, storage: str, kubeflow: str) -> Path:
    """Write the overlay.

    Args:
        folder: where.
        namespace: the one namespace of everything of ours, runs too.
        images: on the node.
        storage: storage class of MinIO's volume.
        kubeflow: URL of Kubeflow's API as pods reach it.

    Returns:
        The folder, for `kubectl apply -k`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    base = os.path.relpath(MANIFESTS, folder.resolve())
    claim = "/spec/volumeClaimTemplates/0/spec"
    components = ("minio", "network-policies", "kfp-launcher")
    settings = {
        "TRIMTAB_STORE": STORE,
        "TRIMTAB_STAGE_IMAGE": images.stage,
        "TRIMTAB_KUBEFLOW_NAMESPACE": namespace,
        "KF_PIPELINES_ENDPOINT": kubeflow,
    }
    content = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": namespace,
        "resources": [f"{base}/base"],
        "components": [f"{base}/components/{name}" for name in components],
        "images": [
            _image("trimtab-server", images.server),
            _image("trimtab-monitor", images.monitor),
            _image("quay.io/minio/minio", images.minio),
        ],
        "configMapGenerator": [
            {"name": "trimtab-settings", "behavior": "merge", "literals": [f"{k}={v}" for k, v in settings.items()]},
            {"name": "trimtab-server", "behavior": "merge", "literals": [f"TRIMTAB_STORE={STORE}"]},
        ],
        "patches": [
            # The alert takes the way over Prometheus and Alertmanager alone.
            _patch("Deployment", "trimtab-watch", _argument(POLL), _argument("--hook=-")),
            _patch("Deployment", "trimtab-hook", _argument(POLL)),
            _patch(
                "StatefulSet",
                "trimtab-minio",
                {"op": "add", "path": f"{claim}/storageClassName", "value": storage},
                {
                    "op": "replace",
                    "path": f"{claim}/resources/requests/storage",
                    "value": "1Gi",
                },
            ),
        ],
        # MinIO is in this namespace, as in overlays/staging.
        "replacements": [
            {
                "source": {"kind": "Service", "name": "trimtab-minio", "fieldPath": "metadata.namespace"},
                "targets": [
                    {
                        "select": {"kind": "ConfigMap", "name": "kfp-launcher"},
                        "fieldPaths": ["data.providers"],
                        "options": {"delimiter": ".", "index": 1},
                    }
                ],
            }
        ],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder


def artifacts_root() -> str:
    """Where runs keep their artifacts, as the component says."""
    text = (_COMPONENTS / "kfp-launcher" / "settings" / "launcher.yaml").read_text()
    return str(yaml.safe_load(text)["data"]["defaultPipelineRoot"])


def _users() -> list[str]:
    """The S3 users whose Secrets our manifests name."""
    texts = [file.read_text() for file in (*MANIFESTS.glob("base/*.yaml"), *_COMPONENTS.glob("minio/*.yaml"),
                                           *_COMPONENTS.glob("kfp-launcher/**/*.yaml"))]  # fmt: skip
    return sorted({user for text in texts for user in re.findall(r"trimtab-s3-([a-z]+)", text)})


def _image(name: str, new: str) -> dict[str, str]:
    image, _, tag = new.rpartition(":")
    return {"name": name, "newName": image, "newTag": tag}


def _argument(text: str) -> dict[str, str]:
    return {"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": text}


def _patch(kind: str, name: str, *operations: dict[str, Any]) -> dict[str, Any]:
    return {"target": {"kind": kind, "name": name}, "patch": yaml.safe_dump(list(operations))}


def _secret(name: str, values: dict[str, str]) -> dict[str, Any]:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}
