"""URLs that people set, and that errors, findings and logs print: no secret may be in one."""

from __future__ import annotations

from urllib.parse import urlsplit

from trimtab.core.errors import ProjectError


def without_secrets(url: str, what: str) -> str:
    """The URL as it is, if it carries no user and no password.

    Args:
        url: what was given; empty passes.
        what: the option or variable that it comes from.

    Raises:
        ProjectError: it carries a user or password, or cannot be read as a URL. The error does not print it.

    >>> without_secrets("http://minio:9000", "AWS_ENDPOINT_URL")
    'http://minio:9000'
    """
    try:
        # Whatever comes before an `@` is a credential to some reader, even where the scheme is missing.
        named = "@" in urlsplit(url).netloc or ("://" not in url and "@" in url.partition("/")[0])
        _ = urlsplit(url).port
    except ValueError:
        if "@" not in url:
            raise ProjectError("that is no URL", object=what, expected="http://host:port", got=repr(url)) from None
        named = True
    if named:
        raise ProjectError(
            "a URL carries no user and no password, which every log and error would show",
            object=what,
            expected="http(s)://host:port",
            hint="take the credential out of it, and change it: it may have been seen",
        )
    return url
