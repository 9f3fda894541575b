"""The pages themselves: links lead somewhere, commands parse, pages stay short, names exist."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

import jattr
from jattr.cli.main import make_parser

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
# that one has names of former versions
WRITTEN = [page for page in PAGES if page.name != "benchmarks.md"]
SET_UP_AND_TEST = (
    "python3 -m venv .venv && . .venv/bin/activate && pip install -e '.[test]' &&"
    " python -m pytest -q"
)


def names_of(pages):
    return [page.relative_to(ROOT).as_posix() for page in pages]


def without_code(text):
    return re.sub(
        r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    )


def anchors(path):
    """Anchors of a page's headings, as GitHub and mkdocs make them."""
    text = re.sub(
        r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("page", PAGES, ids=names_of(PAGES))
def test_every_relative_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text(encoding="utf-8"))):
        if target.startswith(("https://", "http://")):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.is_file(), f"{page.name}: {target}"
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path), (
                f"{page.name}: {target}; there are {sorted(anchors(path))}"
            )


@pytest.mark.parametrize(("name", "most"), [("README.md", 9_000), ("BUILD_NOTES.md", 12_000)])
def test_the_first_pages_stay_short(name, most):
    assert len((ROOT / name).read_bytes()) <= most


@pytest.mark.parametrize(
    "page", sorted((DOCS / "decisions").glob("[0-9]*.md")), ids=lambda page: page.stem
)
def test_a_decision_is_one_page_with_a_status_and_in_the_list(page):
    text = page.read_text(encoding="utf-8")
    assert re.match(rf"# {page.name[:4]}\. \S", text)
    assert re.search(r"^Status: \w", text, re.MULTILINE)
    assert len(text) <= 3_500
    assert f"({page.name})" in (DOCS / "decisions" / "index.md").read_text(encoding="utf-8")


def commands_of(page):
    """Commands of jattr in a page's blocks of code."""
    blocks = re.findall(
        r"^```(?:\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    for line in "\n".join(blocks).replace("\\\n", " ").splitlines():
        words = line.removeprefix("$ ").removesuffix("&").strip()
        if words.startswith("jattr "):
            yield words


COMMANDS = [
    (page.relative_to(ROOT).as_posix(), command)
    for page in WRITTEN
    for command in commands_of(page)
]


@pytest.mark.parametrize("name", sorted({name for name, _ in COMMANDS}))
def test_every_command_of_the_docs_can_be_parsed(name):
    for command in [command for page, command in COMMANDS if page == name]:
        # an error says what it is and exits
        make_parser().parse_args(shlex.split(command, comments=True)[1:])


def test_there_are_commands_to_parse():
    assert len(COMMANDS) > 60


@pytest.mark.parametrize("name", ["README.md", "BUILD_NOTES.md", "CONTRIBUTING.md"])
def test_the_command_that_sets_up_and_tests_is_the_same_everywhere(name):
    assert SET_UP_AND_TEST in (ROOT / name).read_text(encoding="utf-8")


def test_the_continuous_integration_runs_that_command():
    script = (
        (ROOT / ".ci" / "run").read_text(encoding="utf-8").replace("pip install -q", "pip install")
    )
    steps = [step.strip() for step in SET_UP_AND_TEST.split("&&")]
    places = [script.find(step) for step in steps]
    assert -1 not in places
    assert places == sorted(places)


def test_the_page_of_the_public_names_has_every_one():
    text = (DOCS / "api" / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^::: jattr\.(\w+)$", text, re.MULTILINE)
    assert sorted(listed) == sorted(set(jattr.__all__) - {"__version__"})


@pytest.mark.parametrize("page", WRITTEN, ids=names_of(WRITTEN))
def test_prose_keeps_to_the_words_of_the_glossary(page):
    """Code keeps the names that formats and folders have; prose has one word a thing."""
    prose = re.sub(r"\]\([^)]*\)", "]", without_code(page.read_text(encoding="utf-8")))
    prose = re.sub(r"^    .*$", "", prose, flags=re.MULTILINE)
    assert re.findall(r"(?i)\b(?:pictures?|accused|rehears\w+)\b", prose) == []


# Texts that are signed, no paths. The changelog has the names of its time.
FORMAT_NAMES = {"jattr/key/v1", "jattr/evidence/v1", "jattr/sample/v1"}
CURRENT = [page for page in WRITTEN if page.name != "CHANGELOG.md"]


@pytest.mark.parametrize("page", CURRENT, ids=names_of(CURRENT))
def test_files_and_modules_that_a_page_names_exist(page):
    text = page.read_text(encoding="utf-8")
    paths = re.findall(r"`((?:jattr|converters|scripts|tests|docs)/[\w/.]+)`", text)
    for path in set(paths) - FORMAT_NAMES:
        assert (ROOT / path).exists(), path
    code = " ".join(re.findall(r"^```.*?^```|`[^`\n]+`", text, re.DOTALL | re.MULTILINE))
    for name in set(re.findall(r"(?<![\w/.-])jattr(?:\.[A-Za-z_]\w*)+", code)):
        assert exists(name), name


def exists(name):
    """Return whether a dotted name is a module, or an attribute or a field below one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            owner = import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if part in getattr(owner, "__dataclass_fields__", {}):
                return True
            if not hasattr(owner, part):
                return False
            owner = getattr(owner, part)
        return True
    return False


def test_names_that_do_not_exist_are_noticed():
    assert exists("jattr.decision.verdict.DecisionConfig.winner")
    assert not exists("jattr.decision.verdict.DecisionConfig.loser")
    assert not exists("jattr.decision.verdicts")
