"""A URL with a credential in it is refused, and the credential printed nowhere."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from trimtab.cli.commands import make_app
from trimtab.core.errors import ProjectError
from trimtab.core.settings import load
from trimtab.core.store import admin, open_store
from trimtab.core.urls import without_secrets

WELL = ("", "http://minio:9000", "https://[::1]:9000/prefix?q=a@b", "localhost:9000", "http://h/@x")
BAD = ("http://u:hunter2@h:1", "https://hunter2@h", "u:hunter2@h:1", "http://u:hunter2@h:port", "http://u:hunter2@[h")


@pytest.mark.parametrize("url", WELL)
def test_a_url_passes(url: str) -> None:
    assert without_secrets(url, "--host") == url


@pytest.mark.parametrize("url", BAD)
def test_a_credential_is_refused_and_not_printed(url: str) -> None:
    with pytest.raises(ProjectError, match="--host") as caught:
        without_secrets(url, "--host")
    assert "hunter2" not in str(caught.value.facts())


def test_s3_settings_with_a_credential_in_the_endpoint() -> None:
    settings = load({"AWS_ENDPOINT_URL": "http://root:hunter2@h:9000", "AWS_ACCESS_KEY_ID": "a"})
    for use in (lambda: open_store("s3://bucket/prefix", settings), lambda: admin.Administrator(settings.s3, print)):
        with pytest.raises(ProjectError, match="AWS_ENDPOINT_URL") as caught:
            use()
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("option", ["--host", "--prometheus", "--alertmanager"])
def test_doctor_refuses_one(option: str) -> None:
    done = CliRunner().invoke(make_app("doctor"), ["doctor", option, "http://u:hunter2@127.0.0.1:9"])
    assert isinstance(done.exception, ProjectError), done.output
    assert "hunter2" not in done.output + str(done.exception)
