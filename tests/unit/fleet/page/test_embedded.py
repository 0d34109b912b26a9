"""Nothing that is embedded in the page can end the element that holds it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re

from hypothesis import given, strategies as st

from k3sfw_engine.fleet.page.embedded import content_policy, embedded_json, packed


@given(st.dictionaries(st.text(), st.text()))
def test_embedded_json_is_the_same_data_without_any_sign_of_html(data):
    text = embedded_json(data)
    assert json.loads(text) == data
    assert not set(text) & set("<>&\u2028\u2029")


def test_packed_answers_are_the_same_for_the_same_data():
    data = {"text": "</script>", "nodes": ["ä"]}
    assert packed(data) == packed(data)
    assert json.loads(gzip.decompress(base64.b64decode(packed(data)))) == data


def test_the_policy_allows_this_style_and_this_script_only():
    policy = content_policy("a{}", "1")
    digest = base64.b64encode(hashlib.sha256(b"1").digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert set(re.findall(r"\b(?:https?|blob|\*)", policy)) == set()
