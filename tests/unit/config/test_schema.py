"""The schema is the whole truth: every key is documented, has an effect, and fits what adapters are told."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import msgspec
import pytest

from mailseal.config.reader import SERVICES, FieldDoc, field_docs
from mailseal.config.reference import page, tables
from mailseal.config.schema import Services, WebService
from mailseal.config.shapes import SHAPES
from mailseal.services import ADAPTERS
from mailseal.services.base import ServiceSettings

SOURCE = Path(__file__).parents[3] / "src" / "mailseal"
KEYS = [(head, doc) for head, struct in tables() for doc in field_docs(struct)]
# Read as a whole where a service's settings are made; `challenge` has one value so far.
BY_OTHER_WAYS = {"challenge"}


@pytest.mark.parametrize(("head", "doc"), KEYS, ids=[f"{head} {doc.name}" for head, doc in KEYS])
def test_a_key_is_documented(head: str, doc: FieldDoc) -> None:
    name, description = doc.name, doc.description
    assert description.endswith((".", ")")), f"{head} {name}"
    assert doc.shape in ("", *SHAPES)
    assert f"### `{name}`" in page()


def test_every_key_has_an_effect() -> None:
    texts = [
        p.read_text(encoding="utf-8")
        for p in SOURCE.rglob("*.py")
        if p.parent.name != "config" or p.name in ("schema.py", "acme.py")
    ]
    for head, doc in KEYS:
        read = re.compile(
            r"(acme|authority|self|http01|proof|dns|hooks|metrics|state|timer|table|one|settings|service|postfix|notify|mail|smtp|webhook|heartbeat)"
            rf"\.{doc.name}\b"
        )
        known = doc.name in BY_OTHER_WAYS or head == "[[certificate]]"
        assert known or any(read.search(text) for text in texts), f"{head} {doc.name} is read by nobody"


def test_services_are_those_of_the_adapters() -> None:
    assert set(SERVICES) == set(ADAPTERS) == set(Services.__struct_fields__)


def test_a_services_keys_are_what_its_adapter_is_told() -> None:
    told = {field.name for field in dataclasses.fields(ServiceSettings)} - {"kind"}
    assert set(WebService.__struct_fields__) == told
    for info in msgspec.structs.fields(WebService):
        assert getattr(ServiceSettings("apache"), info.name) == info.default
