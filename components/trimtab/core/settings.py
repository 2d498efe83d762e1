"""The only reader of environment variables: `TRIMTAB_*`.

Everything else takes a `Settings` or the value it needs. S3's own variables (`AWS_ACCESS_KEY_ID`,
`AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_CA_BUNDLE`) are read here too,
and Kubeflow's (`KF_PIPELINES_*`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from trimtab.core.errors import ProjectError


class S3Settings(NamedTuple):
    """How to reach S3; secrets are kept out of `repr`.

    Attributes:
        ca_bundle: file with the CA of its certificate.
        ca_config_map: `TRIMTAB_S3_CA_CONFIG_MAP`, the ConfigMap in which a cluster's stages find it.
    """

    endpoint: str = ""
    region: str = "us-east-1"
    access_key: str = ""
    secret_key: str = ""
    session_token: str = ""
    ca_bundle: str = ""
    ca_config_map: str = ""

    def __repr__(self) -> str:
        """Without secrets."""
        return f"S3Settings(endpoint={self.endpoint!r}, region={self.region!r}, ca_bundle={self.ca_bundle!r})"


class KubeflowSettings(NamedTuple):
    """How to reach Kubeflow Pipelines' API, by the variables that kfp.Client reads and a few of ours.

    Attributes:
        endpoint: `KF_PIPELINES_ENDPOINT`.
        ui_endpoint: `KF_PIPELINES_UI_ENDPOINT`, where people look at runs; by default the endpoint.
        token_file: `KF_PIPELINES_SA_TOKEN_PATH`, a bearer token or a ServiceAccount's projected one.
        namespace: `TRIMTAB_KUBEFLOW_NAMESPACE`, where runs belong in multi-user mode.
        experiment: `KF_PIPELINES_DEFAULT_EXPERIMENT_NAME`.
        header_file: `TRIMTAB_KUBEFLOW_HEADERS`, a file of further request headers, `name: value` a line.
        ca_bundle: `TRIMTAB_KUBEFLOW_CA`.
        client_cert, client_key: `TRIMTAB_KUBEFLOW_CERT` and `TRIMTAB_KUBEFLOW_KEY`, PEM files.
        kubernetes: whether this process is a pod of a cluster.
    """

    endpoint: str = ""
    ui_endpoint: str = ""
    token_file: str = ""
    namespace: str = ""
    experiment: str = ""
    header_file: str = ""
    ca_bundle: str = ""
    client_cert: str = ""
    client_key: str = ""
    kubernetes: bool = False


class Settings(NamedTuple):
    """What the environment says, read once by `load`.

    Attributes:
        store: URL of the store, `file:///…` or `s3://bucket/prefix`; by default a folder `.trimtab/store`.
        signing_key: private Ed25519 key file (PEM, mode 0600) that publish signs with.
        trusted_keys: folder of public keys (PEM) that a server accepts.
        tokens: file of hashed tokens that a server accepts.
        token_file: one's own bearer token, mode 0600.
        server_url: base URL of the model server.
        hook_url: base URL of the retrain hook.
        spool: folder in which a server keeps what the store does not have yet.
        stage_image: image of the stages, by digest.
        log_level: name of a logging level.
        prometheus_bin: folder with Prometheus and Alertmanager, for `demo --prometheus`; empty looks on PATH.
        home: the user's configuration folder, where keys and tokens are made on first use.
        run_key, run_attempt: the run a stage belongs to, set by the local launcher.
        run_id: the backend's own id of the run (a cluster gives it by the downward API).
        run_timeout, stage_timeout: seconds that a run and a stage's try may take on a cluster; 0 without limit.
        s3: S3's own settings.
        otlp_endpoint: URL of an OpenTelemetry collector (OTLP over HTTP) that a server sends spans to, by
            OpenTelemetry's own variables; empty: no spans.
        kubeflow: how to reach Kubeflow's API.
    """

    store: str
    signing_key: Path
    trusted_keys: Path
    tokens: Path
    token_file: Path
    server_url: str
    hook_url: str
    spool: Path
    stage_image: str
    log_level: str
    prometheus_bin: str
    home: Path
    run_key: str
    run_attempt: int
    run_id: str
    s3: S3Settings
    otlp_endpoint: str = ""
    kubeflow: KubeflowSettings = KubeflowSettings()
    run_timeout: float = 0.0
    stage_timeout: float = 0.0


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings.

    Args:
        environ: the environment; by default the process's.

    Raises:
        ProjectError: a variable holds something that it cannot mean.

    >>> load({"HOME": "/home/ann"}).server_url
    'http://127.0.0.1:8080'
    """
    env = os.environ if environ is None else environ

    def get(name: str, default: str = "") -> str:
        return env.get(f"TRIMTAB_{name}") or default

    base = env.get("XDG_CONFIG_HOME") or str(Path(env.get("HOME") or "~").expanduser() / ".config")
    home = Path(get("HOME", str(Path(base) / "trimtab")))
    attempt = get("RUN_ATTEMPT", "0")
    if not attempt.isdigit():
        raise ProjectError(
            "TRIMTAB_RUN_ATTEMPT is not a number",
            object="TRIMTAB_RUN_ATTEMPT",
            expected="0, 1, …",
            got=attempt,
        )
    level = get("LOG_LEVEL", "INFO").upper()
    if level not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise ProjectError(
            "TRIMTAB_LOG_LEVEL names no level",
            object="TRIMTAB_LOG_LEVEL",
            expected="DEBUG, INFO, WARNING or ERROR",
            got=level,
        )
    return Settings(
        store=get("STORE", (Path.cwd() / ".trimtab" / "store").as_uri()),
        signing_key=Path(get("SIGNING_KEY", str(home / "signing.pem"))),
        trusted_keys=Path(get("TRUSTED_KEYS", str(home / "trusted"))),
        tokens=Path(get("TOKENS", str(home / "tokens.json"))),
        token_file=Path(get("TOKEN_FILE", str(home / "token"))),
        server_url=get("SERVER_URL", "http://127.0.0.1:8080"),
        hook_url=get("HOOK_URL", "http://127.0.0.1:8090"),
        spool=Path(get("SPOOL", str(home / "spool"))),
        stage_image=get("STAGE_IMAGE"),
        log_level=level,
        prometheus_bin=get("PROMETHEUS_BIN"),
        home=home,
        run_key=get("RUN_KEY"),
        run_attempt=int(attempt),
        run_id=get("RUN_ID"),
        s3=S3Settings(
            endpoint=env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL") or "",
            region=env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or "us-east-1",
            access_key=env.get("AWS_ACCESS_KEY_ID", ""),
            secret_key=env.get("AWS_SECRET_ACCESS_KEY", ""),
            session_token=env.get("AWS_SESSION_TOKEN", ""),
            ca_bundle=env.get("AWS_CA_BUNDLE", ""),
            ca_config_map=get("S3_CA_CONFIG_MAP"),
        ),
        otlp_endpoint=_otlp(env),
        kubeflow=KubeflowSettings(
            endpoint=env.get("KF_PIPELINES_ENDPOINT", ""),
            ui_endpoint=env.get("KF_PIPELINES_UI_ENDPOINT", ""),
            token_file=env.get("KF_PIPELINES_SA_TOKEN_PATH", ""),
            namespace=get("KUBEFLOW_NAMESPACE"),
            experiment=env.get("KF_PIPELINES_DEFAULT_EXPERIMENT_NAME", ""),
            header_file=get("KUBEFLOW_HEADERS"),
            ca_bundle=get("KUBEFLOW_CA"),
            client_cert=get("KUBEFLOW_CERT"),
            client_key=get("KUBEFLOW_KEY"),
            kubernetes=bool(env.get("KUBERNETES_SERVICE_HOST")),
        ),
        run_timeout=_seconds(get, "RUN_TIMEOUT"),
        stage_timeout=_seconds(get, "STAGE_TIMEOUT"),
    )


def _seconds(get: Callable[[str], str], name: str) -> float:
    text = get(name) or "0"
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ProjectError(f"TRIMTAB_{name} is no time", object=f"TRIMTAB_{name}", expected="seconds", got=text)
    return seconds


def _otlp(env: Mapping[str, str]) -> str:
    """The collector's URL, unless OpenTelemetry's own variables switch spans off."""
    if env.get("OTEL_SDK_DISABLED", "").lower() == "true" or env.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return ""
    return env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or env.get("OTEL_EXPORTER_OTLP_ENDPOINT") or ""
