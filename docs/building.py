"""What MkDocs does beside turning docs/ into a site: notebooks become pages, and links out of docs/ become text.

A notebook is shown with the outputs that it holds: nothing runs when the site is built. They become Markdown, and
not HTML in Jupyter's own style, so that they look like all other pages, are searched like them, and fit a phone.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
LINK_OUT = re.compile(r"\[([^\]\n]+)\]\((\.\./[^)\s]+)\)")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the notebooks: each as a page, with its pictures, and as a file to take home."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        pictures: dict[str, bytes] = {}
        text = "\n\n".join(page_of(nbformat.read(path, as_version=4), path.stem, pictures))
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
        files.append(File.generated(config, f"notebooks/{path.name}", content=path.read_bytes()))
        for name, content in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    return files


def page_of(notebook: Any, stem: str, pictures: dict[str, bytes]) -> Iterator[str]:
    """The blocks of a notebook in Markdown; its pictures are put into the dictionary, by file name."""
    title, *cells = notebook.cells
    yield title.source
    yield f"*This page is a notebook with the outputs of its last run:* [{stem}.ipynb]({stem}.ipynb)"
    for number, cell in enumerate(cells, start=2):
        if cell.cell_type == "markdown":
            yield cell.source.replace(".ipynb)", ".md)")
            continue
        yield f"```python\n{cell.source}\n```"
        for position, output in enumerate(cell.outputs):
            yield shown(output, f"{stem}-{number}-{position}.png", pictures)


def shown(output: Any, name: str, pictures: dict[str, bytes]) -> str:
    """The best of what an output can be shown as."""
    data = output.get("data", {"text/plain": output.get("text", "")})
    if "text/markdown" in data:
        return data["text/markdown"]
    if "image/png" in data:
        pictures[name] = base64.b64decode(data["image/png"])
        return f"![{escape(data.get('text/plain', ''))}]({name})"
    if "text/html" in data:
        return f'<div class="output">{data["text/html"]}</div>'
    if "text/latex" in data:
        return f'<div class="output">{escape(data["text/latex"])}</div>'
    return f'<div class="output"><pre>{escape(data["text/plain"])}</pre></div>'


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to files that are no part of the site, such as tests, become what they say."""
    here = Path(page.file.src_uri).parent

    def kept(link: re.Match[str]) -> str:
        target = (Path("/docs") / here / link[2].partition("#")[0]).as_posix()
        inside = Path(target).resolve().is_relative_to("/docs")
        return link[0] if inside else f"`{link[1].strip('`')}`"

    return LINK_OUT.sub(kept, markdown)
