"""What is in the page beside its text: data, style and script, and their policy. Pure."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from typing import Any

# An HTML parser ends a script at ``</script`` wherever it stands, and older readers of JavaScript
# end a line at the last two.
_ESCAPED = {ord(each): f"\\u{ord(each):04x}" for each in "<>&\u2028\u2029"}


def embedded_json(data: Any) -> str:
    """Return JSON that can stand inside a script element."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.translate(_ESCAPED)


def packed(data: Any) -> str:
    """Return JSON compressed and in base64, the same for the same data."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()


def content_policy(style: str, script: str) -> str:
    """Return the policy: this style, this script, pictures inside the page, and nothing else.

    With it a browser runs nothing that a minion's text could bring in, and fetches nothing.
    """
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
