"""Rules for all templates."""

from __future__ import annotations

from pathlib import Path

import pytest

TEMPLATES = Path(__file__).parents[2] / "templates"
PATHS = sorted(TEMPLATES.rglob("*.html"))
MAX_LINE_LENGTH = 140


def id_of(path: Path) -> str:
    return str(path.relative_to(TEMPLATES))


@pytest.mark.parametrize("path", PATHS, ids=id_of)
def test_no_line_is_too_long(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert not [number for number, line in enumerate(lines, 1) if len(line) > MAX_LINE_LENGTH]


@pytest.mark.parametrize("path", PATHS, ids=id_of)
def test_there_is_no_inline_style(path: Path) -> None:
    assert "style=" not in path.read_text(), "use a class of pages.css"


@pytest.mark.parametrize("path", PATHS, ids=id_of)
def test_icons_and_notes_come_from_tags(path: Path) -> None:
    text = path.read_text()
    assert "material-symbols" not in text, "use {% icon %}"
    assert 'class="hk-note' not in text, "use {% note %}"
