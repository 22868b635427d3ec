"""Brings pages from outside of docs/ into the site: the README, and the README of each method.

They stay where they are: the site takes them as they lie, and links between them and docs/ lead to pages of the site.
Links to anything else in the repository lead to where it is published.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
METHODS = "src/foreseen/methods"
LINK = re.compile(r"(\]\()([^)#\s]+)(#[^)\s]*)?(\))")


def sources() -> dict[str, str]:
    """Page of the site -> file in the repository, of those that lie outside of docs/."""
    methods = sorted((ROOT / METHODS).glob("*/README.md"))
    return {"readme.md": "README.md"} | {
        f"methods/{page.parent.name}.md": page.relative_to(ROOT).as_posix() for page in methods
    }


def on_files(files: Files, config: Any) -> Files:
    """Adds them."""
    for page, source in sources().items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Leads links that leave docs/, or come from outside of it, to the right place."""
    return relink(markdown, page.file.src_uri, config["repo_url"])


def relink(markdown: str, page: str, repository: str) -> str:
    """The text of a page (as named in the site) with its links as the site wants them."""
    outside = sources()
    source = PurePosixPath(outside.get(page, f"docs/{page}"))
    homes = {file: name for name, file in outside.items()}

    def lead(match: re.Match[str]) -> str:
        before, target, anchor, after = match.groups()
        if "://" in target or target.startswith("mailto:"):
            return match.group(0)
        place = os.path.normpath(source.parent / target)
        if place in homes:
            there = homes[place]
        elif place.startswith("docs/") and (ROOT / place).is_file():
            there = place.removeprefix("docs/")
        elif not (ROOT / place).exists():
            return match.group(0)  # mkdocs says so
        else:
            kind = "tree" if (ROOT / place).is_dir() else "blob"
            return f"{before}{repository}/{kind}/main/{place}{anchor or ''}{after}"
        return f"{before}{os.path.relpath(there, PurePosixPath(page).parent)}{anchor or ''}{after}"

    return LINK.sub(lead, markdown)
