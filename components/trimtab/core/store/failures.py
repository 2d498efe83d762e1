"""What S3 answers when it does not do what was asked: what may pass, and what to tell the reader."""

from __future__ import annotations

import re
from typing import Any

from trimtab.core.errors import StoreError, StoreRefused, StoreUnfit

_PASSING_STATUS = {408, 409, 425, 429, 500, 502, 503, 504}
_PASSING_CODES = {
    "InternalError", "OperationAborted", "ConditionalRequestConflict", "RequestTimeout", "ServiceUnavailable",
    "SlowDown", "SlowDownRead", "SlowDownWrite", "Throttling", "TooManyRequests", "XMinioServerNotInitialized",
}  # fmt: skip
_NEXT = {
    "AccessDenied": "give this S3 user the rights that the prefix needs",
    "InvalidAccessKeyId": "check AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "check AWS_SECRET_ACCESS_KEY and AWS_REGION",
    "AuthorizationHeaderMalformed": "check AWS_REGION",
    "NoSuchBucket": "make the bucket, or correct the bucket's name in TRIMTAB_STORE",
    "RequestTimeTooSkewed": "set this machine's clock",
    "XMinioStorageFull": "free some space in the store",
    "EntityTooLarge": "the object is larger than this S3 takes",
}
_NEXT |= dict.fromkeys(("ExpiredToken", "InvalidToken", "InvalidTokenId"), "renew AWS_SESSION_TOKEN and its keys")
_PASSED_BY = {"XMinioStorageFull", "EntityTooLarge"}  # with these the settings are right
_CODE = re.compile(rb"<Code>([A-Za-z0-9]{1,60})</Code>")


class S3Failure(Exception):
    """An HTTP answer that is no success, from a request made without the client.

    Attributes:
        status: HTTP status.
        code: S3's own word for it, empty where the body has none.
    """

    def __init__(self, status: int, code: str) -> None:
        self.status, self.code = status, code
        super().__init__(f"HTTP {status} {code}".strip())

    @classmethod
    def of(cls, answer: Any) -> S3Failure:
        """The failure that an answer (urllib3's, read whole) stands for."""
        found = _CODE.search(answer.data or b"")
        return cls(int(answer.status), found[1].decode() if found else "")


def is_transient(error: Exception) -> bool:
    """Whether the same request may go through a moment later."""
    from minio.error import InvalidResponseError, S3Error, ServerError
    from urllib3.exceptions import HTTPError, LocationValueError

    if isinstance(error, S3Failure):
        return error.status in _PASSING_STATUS or error.code in _PASSING_CODES
    if isinstance(error, S3Error):
        status = getattr(getattr(error, "response", None), "status", 0)
        return error.code in _PASSING_CODES or status in _PASSING_STATUS
    if isinstance(error, ServerError):
        return int(error.status_code) in _PASSING_STATUS
    if isinstance(error, InvalidResponseError):
        # A proxy's own page in place of S3's answer.
        return int(getattr(error, "_code", 0) or 0) in _PASSING_STATUS
    if isinstance(error, LocationValueError):
        return False
    return isinstance(error, HTTPError | ConnectionError | TimeoutError)


def is_unsent(error: Exception) -> bool:
    """Whether no connection came about, so that nothing can have been written."""
    from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

    return isinstance(error, ConnectTimeoutError | NameResolutionError | NewConnectionError)


def explain(operation: str, what: str, error: Exception | None) -> StoreError:
    """The failure as a sentence with its next step."""
    if error is None:
        return StoreError(f"{operation} was not tried", object=what, hint="set the attempts of Retry to 1 or more")
    code = str(getattr(error, "code", "") or "")
    if code == "NotImplemented" and operation == "create":
        return StoreUnfit(
            "the store has no conditional create",
            object=what,
            got=code,
            hint="use a store that honours If-None-Match: * on PUT",
        )
    if is_transient(error):
        hint = "see whether the store is up and AWS_ENDPOINT_URL names it, then try again"
        return StoreError(f"{operation} failed, also when tried again", object=what, got=_words(error), hint=hint)
    kind = StoreRefused if code in _NEXT and code not in _PASSED_BY else StoreError
    return kind(f"{operation} was refused", object=what, got=code or _words(error), hint=_NEXT.get(code, ""))


def _words(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return f"{type(error).__name__}: {reason}"[:300]
