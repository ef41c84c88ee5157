"""The page for Django projects shows the host that the tests run, word for word."""

import re

import pytest

from tests.processes import ROOT

PAGE = (ROOT / "docs" / "django.md").read_text()
HOST = [
    path.read_text() for path in (ROOT / "tests" / "embedding" / "host" / "shop").rglob("*.*") if path.suffix != ".pyc"
]
BLOCKS = re.findall(r"^```(?:python|html)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", BLOCKS)
def test_each_example_is_a_part_of_the_host(block):
    if "{%" in block:
        assert all(any(line.strip() in text for text in HOST) for line in block.splitlines())
    else:
        assert any(block in text for text in HOST)


def test_the_page_has_its_examples():
    assert len(BLOCKS) >= 6
