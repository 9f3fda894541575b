"""A hook of mkdocs: the pages of the repository's root join the site, and links between them and
docs/ are right there.

mkdocs reads one folder, `docs/`. README.md and its neighbours lie above it and link to
`docs/page.md`; pages in `docs/` link to `../README.md`. On GitHub both are right. On the site all
pages lie in one folder, so these links lose `docs/` and `../`. Decisions and API pages are entered
into the navigation by their files.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "BUILD_NOTES.md",
    "SECURITY.md",
    "CHANGELOG.md",
)
FILES = ("CITATION.cff",)


def on_config(config: Any) -> Any:
    """Enter the decisions and the API's pages into the navigation."""
    for name, folder in (("API", "api"), ("Decisions", "decisions")):
        pages = sorted(
            (ROOT / "docs" / folder).glob("*.md"),
            key=lambda path: (path.name != "index.md", path.name),
        )
        _replace(config.nav, name, [path.relative_to(ROOT / "docs").as_posix() for path in pages])
    return config


def _replace(nav: list[Any], name: str, pages: list[str]) -> None:
    for entry in nav:
        for key, value in entry.items() if isinstance(entry, dict) else ():
            if key == name:
                entry[key] = pages
            elif isinstance(value, list):
                _replace(value, name, pages)


def on_files(files: Files, config: Any) -> Files:
    """Add the root's pages."""
    for name in (*PAGES, *FILES):
        files.append(
            File.generated(config, name, content=(ROOT / name).read_text(encoding="utf-8"))
        )
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Return a page's text with links as they are on the site."""
    del config, files
    if page.file.src_uri in PAGES:
        return re.sub(r"\]\(docs/", "](", markdown)
    up = "../" * page.file.src_uri.count("/")
    names = "|".join(map(re.escape, (*PAGES, *FILES)))
    return re.sub(rf"\]\({re.escape(up)}\.\./({names})", rf"]({up}\1", markdown)
