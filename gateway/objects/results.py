"""Where a message batch's results are: at our own address, not at the provider's. Pure.

The SDK asks for `results_url` with the credential that it has, which is ours to it and nothing to the provider. A path
without a host is joined to the client's own base URL, by Anthropic's SDKs (Python and Node) and by RFC 3986.
"""

from __future__ import annotations

import re

# In JSON a quote inside of a text has a back slash before it, so this matches a member's name and nothing else.
_RESULTS = re.compile(
    rb'(?<!\\)"results_url"(\s*:\s*)"https?:(?:\\?/){2}[^"]*?(\\?/v1\\?/messages\\?/batches\\?/[^"]*)"'
)


def own_results(body: bytes) -> bytes:
    """The answer with the paths of its results in place of their addresses."""
    return _RESULTS.sub(rb'"results_url"\1"\2"', body)
