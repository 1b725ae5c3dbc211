"""Who calls, as AWS wants it proved: its signature, version 4, made by botocore.

Source: docs.aws.amazon.com, "AWS Signature Version 4 for API requests".
"""

from __future__ import annotations


def prepare() -> None:
    """Import what signs: 0.04 s and 5 MB, so only where it is needed, and before a request waits for it."""
    import botocore.auth  # noqa: PLC0415  # see above
    import botocore.awsrequest  # noqa: PLC0415  # see above
    import botocore.credentials  # noqa: F401, PLC0415  # see above


def signed_headers(method: str, url: str, body: bytes, secret: str, region: str) -> list[tuple[str, str]]:
    """The headers that prove who calls Bedrock with this very JSON at this moment; or the key itself, if it is one of
    Bedrock's own. `secret` is either, an access key as `credentials.lines_of` writes it."""
    key, *rest = secret.split("\n")
    if not rest:
        return [("authorization", f"Bearer {key}")]
    from botocore.auth import SigV4Auth  # noqa: PLC0415  # see `prepare`
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415  # see `prepare`
    from botocore.credentials import Credentials  # noqa: PLC0415  # see `prepare`

    request = AWSRequest(method, url, {"content-type": "application/json"} if body else {}, body)
    SigV4Auth(Credentials(key, rest[0], rest[1] or None), "bedrock", region).add_auth(request)
    return [(name.lower(), value) for name, value in request.headers.items() if name.lower() != "content-type"]
