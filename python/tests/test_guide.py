"""Every block of Python in the guide runs, and prints what is shown behind it.

The blocks of a chapter are one program. A block marked ``python error`` must raise; what it raises stands in the block of text behind
it. With ``UPDATE_EXPECT=1`` in the environment, blocks of text are written anew.
"""

import contextlib
import io
import os
import re
import warnings
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
CHAPTERS = sorted(path.name for path in DOCS.glob("*.md"))
BLOCK = re.compile(r"^```(?P<language>\w+)(?P<mark>[^\n]*)\n(?P<text>.*?)^```$", re.M | re.S)


def blocks(chapter):
    """The blocks of code of a chapter: line, language, mark, text."""
    page = (DOCS / chapter).read_text()
    for found in BLOCK.finditer(page):
        line = page.count("\n", 0, found.start()) + 2
        yield line, found["language"], found["mark"].strip(), found["text"]


def run(text, name, line, scope):
    """What a block prints, or the type and text of what it raises."""
    out = io.StringIO()
    code = compile("\n" * (line - 1) + text, name, "exec")
    try:
        with contextlib.redirect_stdout(out):
            exec(code, scope)
    except Exception as error:
        return out.getvalue() + f"{type(error).__name__}: {error}\n", True
    return out.getvalue(), False


def outcomes(chapter):
    """Of each block of Python with a block of text behind it, or that prints: its line, what it printed, what is shown, where that stands."""
    found = list(blocks(chapter))
    scope = {"__name__": "guide"}
    for (line, language, mark, text), after in zip(found, [*found[1:], (0, "", "", "")]):
        if language != "python":
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if "warns" in mark else "error")
            printed, raised = run(text, chapter, line, scope)
        assert raised == ("error" in mark), f"{chapter}:{line}: {printed}"
        if after[1] == "text":
            yield line, printed, after[3]
        else:
            assert not printed, f"{chapter}:{line} prints, and no text is shown: {printed}"


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_blocks_run(chapter):
    results = list(outcomes(chapter))
    if os.environ.get("UPDATE_EXPECT"):
        page = (DOCS / chapter).read_text()
        at = 0
        for _, printed, shown in results:
            at = page.index(f"```text\n{shown}```", at)
            page = page[:at] + f"```text\n{printed}" + page[at + len(f"```text\n{shown}") :]
            at += len(printed)
        (DOCS / chapter).write_text(page)
        return
    for line, printed, shown in results:
        assert printed == shown, f"{chapter}:{line}"


def test_the_summary_lists_every_chapter():
    listed = re.findall(r"\]\((.*?\.md)\)", (DOCS / "SUMMARY.md").read_text())
    assert sorted([*listed, "SUMMARY.md"]) == CHAPTERS


def test_links_lead_somewhere():
    for chapter in CHAPTERS:
        prose = BLOCK.sub("", (DOCS / chapter).read_text())
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", prose):
            assert (DOCS / link).exists(), f"{chapter} links to {link}"
