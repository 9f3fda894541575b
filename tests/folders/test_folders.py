"""Output folders: one that is there is replaced only where jattr wrote all of it, and never
where it is needed.
"""

import os
from pathlib import Path

import pytest

import jattr
from jattr.errors import InputError, OutputError
from jattr.folders import check_folder, new_folder, writing
from jattr.folders.cache import cache_folders
from jattr.folders.kinds import FolderKind, check_names, file_names, problem_of

KIND = FolderKind("a test's folder", lambda folder: check_names(file_names(folder), ("made",)))


def make(path, text="old"):
    path.mkdir(parents=True)
    (path / "made").write_text(text)
    return path


def tree(folder):
    """Everything below a folder, and what files hold."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def write(path, **options):
    with new_folder(path, **({"kind": KIND, "overwrite": True} | options)) as work:
        (work / "made").write_text("new")


def refused(path, words, **options):
    """No work begins, and nothing is touched; the message is one line."""
    before = tree(Path(os.path.abspath(path)))
    with pytest.raises(OutputError, match=words) as error:
        write(path, **options)
    assert "\n" not in str(error.value)
    with pytest.raises(OutputError, match=words):
        check_folder(path, **({"kind": KIND, "overwrite": True} | options))
    assert tree(Path(os.path.abspath(path))) == before


def test_an_own_folder_and_an_empty_one_are_replaced(tmp_path):
    (tmp_path / "empty").mkdir()
    for path in (make(tmp_path / "out"), tmp_path / "empty", tmp_path / "none"):
        write(path, inputs=[tmp_path / "elsewhere"])
        assert (path / "made").read_text() == "new"
    assert sorted(os.listdir(tmp_path)) == ["empty", "none", "out"]


def stray_file(out):
    (out / ".notes").write_text("mine")


def stray_folder(out):
    (out / "more").mkdir()


def stray_link(out):
    (out / "link").symlink_to("made")


def link_in_place_of_a_file(out):
    (out / "made").unlink()
    (out / "made").symlink_to("/etc/hostname")


def missing_file(out):
    (out / "made").rename(out / "Made")


@pytest.mark.parametrize(
    "change", [stray_file, stray_folder, stray_link, link_in_place_of_a_file, missing_file]
)
def test_a_folder_that_is_not_whole_or_holds_more_is_kept(tmp_path, change):
    change(make(tmp_path / "out"))
    refused(tmp_path / "out", "is not a test's folder as jattr wrote it")


def test_a_writer_of_no_kind_replaces_empty_folders_only(tmp_path):
    refused(make(tmp_path / "out"), "holds 'made'", kind=None)
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty", kind=None)


def test_links_and_files_are_kept(tmp_path):
    make(tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    for path in (tmp_path / "link", f"{tmp_path}/link/", tmp_path / "real" / "made"):
        with pytest.raises(OutputError, match="is not a folder"):
            write(path)
    assert (tmp_path / "real" / "made").read_text() == "old"


@pytest.mark.parametrize("place", [".", "../inner", "", "..", "../../outer/inner", "inner/.."])
def test_the_current_folder_and_those_above_are_kept(tmp_path, monkeypatch, place):
    monkeypatch.chdir(make(make(tmp_path / "outer") / "inner"))
    Path("inner").mkdir()
    refused(place, "the current folder")


def test_the_home_folder_and_those_above_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(make(make(tmp_path / "outer") / "home")))
    refused(tmp_path / "outer" / "home", "the home folder")
    refused(tmp_path / "outer", "the home folder")
    with pytest.raises(OutputError, match="is or holds"):
        check_folder("/", kind=KIND, overwrite=True)


def test_jattr_itself_is_kept():
    package = Path(jattr.__file__).parent
    anything = FolderKind("anything", lambda folder: None)
    for place in (package, package.parent, package / "zoo" / "generators" / "dcgan_a"):
        with pytest.raises(OutputError, match="jattr"):
            check_folder(place, kind=anything, overwrite=True)


def test_inputs_are_kept_however_they_are_named(tmp_path, monkeypatch):
    out = make(tmp_path / "out")
    (tmp_path / "alias").symlink_to("out")
    (tmp_path / "link").symlink_to("out/made")
    os.link(out / "made", tmp_path / "hard")
    monkeypatch.chdir(tmp_path)
    for name in (
        "out",
        "out/",
        "alias",
        "out/made",
        "alias/made",
        "link",
        "hard",
        "../" + tmp_path.name + "/out/made",
    ):
        refused(out, "which this command", inputs=["nowhere", "a\0b", name])
        refused("alias/../out", "which this command", inputs=[name])
        refused(out, "which this command", protected=[name])


def test_a_folder_inside_an_input_is_not_made(tmp_path):
    gen = make(tmp_path / "gen")
    for place in (gen / "out", gen / "deep" / "out"):
        refused(place, "lies in", inputs=[gen])
        assert not place.exists()
        check_folder(place, kind=KIND, protected=[gen])
    refused(make(gen / "out"), "lies in", inputs=[gen])


def test_inputs_are_those_that_were_given_even_if_the_current_folder_changes(tmp_path, monkeypatch):
    out = make(tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(OutputError, match="the current folder"),
        new_folder("out", kind=KIND, overwrite=True),
    ):
        monkeypatch.chdir(out)
    assert sorted(os.listdir(tmp_path)) == ["out"]
    assert (out / "made").read_text() == "old"


def test_what_is_put_into_the_folder_meanwhile_is_kept(tmp_path):
    out = make(tmp_path / "out")
    with (
        pytest.raises(OutputError, match="it holds 'late'"),
        new_folder(out, kind=KIND, overwrite=True),
    ):
        (out / "late").write_text("mine")
    assert tree(tmp_path) == {"out": None, "out/made": b"old", "out/late": b"mine"}


def test_a_folder_that_appears_meanwhile_is_kept(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(OutputError, match="exists already"), new_folder(out, kind=KIND):
        make(out)
    assert tree(tmp_path) == {"out": None, "out/made": b"old"}


def test_the_old_folder_is_deleted_last(tmp_path, monkeypatch):
    out = make(tmp_path / "out")
    seen = []
    monkeypatch.setattr(writing, "_delete", lambda _: seen.append(tree(out)))
    write(out)
    assert seen == [{"made": b"new"}]


def test_what_is_written_into_the_old_folder_at_the_last_moment_is_kept(tmp_path, monkeypatch):
    """By somebody who stands in it, and so needs no path."""
    out = make(tmp_path / "out")
    delete = writing._delete

    def late(checked):
        (checked[-1][0] / "late").write_text("mine")
        delete(checked)

    monkeypatch.setattr(writing, "_delete", late)
    write(out)
    assert tree(out) == {"made": b"new"}
    (old,) = tmp_path.glob(".out.*.old")
    assert tree(old) == {"late": b"mine"}


def test_a_link_that_takes_the_place_at_the_last_moment_is_kept(tmp_path, monkeypatch):
    out, other = make(tmp_path / "out"), make(tmp_path / "other")
    rename = Path.rename

    def swap(self, target):
        if self == out:
            rename(out, tmp_path / "away")
            out.symlink_to("other")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", swap)
    with pytest.raises(OutputError, match="is not a folder"):
        write(out)
    assert out.is_symlink()
    assert tree(other) == tree(tmp_path / "away") == {"made": b"old"}


def test_without_overwrite_nothing_is_replaced_even_at_the_last_moment(tmp_path, monkeypatch):
    out = tmp_path / "out"
    rename = Path.rename

    def swap(self, target):
        if not out.exists():
            make(out)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", swap)
    with pytest.raises(OutputError, match="cannot write"):
        write(out, overwrite=False)
    assert tree(tmp_path) == {"out": None, "out/made": b"old"}


def test_a_path_through_a_link_names_the_place_that_the_system_finds(tmp_path, monkeypatch):
    """`link/..` is the folder above the one that the link points to."""
    real = make(tmp_path / "real" / "out").parent
    make(tmp_path / "out")
    (real / "deep").mkdir()
    (tmp_path / "link").symlink_to("real/deep")
    monkeypatch.chdir(tmp_path)
    for name in ("link/../out", "link/../out/made"):
        refused("real/out", "which this command", inputs=[name])
        refused("real/out", "which this command", protected=[name])
        write("out", inputs=[name])
    refused("link/../out", "which this command", inputs=["real/out/made"])
    write("link/../out")
    assert (real / "out" / "made").read_text() == "new"


@pytest.mark.parametrize("name", ["\u753b" * 85, "\U0001f9e1" * 60, "a" * 255])
def test_names_may_be_as_long_as_file_systems_allow(tmp_path, name):
    for _ in range(2):
        write(tmp_path / name)
    assert os.listdir(tmp_path) == [name]


def test_a_failure_leaves_no_folders_above(tmp_path):
    with pytest.raises(InputError), new_folder(tmp_path / "a" / "b" / "out"):
        raise InputError("stop")
    assert not os.listdir(tmp_path)


def test_a_current_folder_that_is_gone_is_said(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(OutputError, match="cannot write 'out'"):
        write("out")


def test_an_interrupted_replacement_brings_the_old_folder_back(tmp_path, monkeypatch):
    out = make(tmp_path / "out")
    rename = Path.rename

    def interrupt(self, target):
        if self.suffix == ".tmp":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(out)
    assert tree(tmp_path) == {"out": None, "out/made": b"old"}


def test_a_folder_that_cannot_be_put_back_is_named(tmp_path, monkeypatch):
    out = make(tmp_path / "out")
    rename = Path.rename

    def fail(self, target):
        if self.suffix in (".tmp", ".old"):
            raise PermissionError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OutputError, match=r"it is kept as .*\.old"):
        write(out)
    (kept,) = tmp_path.iterdir()
    assert (kept / "made").read_text() == "old"


def test_a_check_that_breaks_refuses(tmp_path):
    for error in (KeyError("x"), TypeError("x"), OSError(13, "denied"), InputError("two\nlines")):

        def check(_, error=error):
            raise error

        make(tmp_path / type(error).__name__)
        refused(
            tmp_path / type(error).__name__, "is not a thing", kind=FolderKind("a thing", check)
        )


def test_content_that_a_check_does_not_expect_is_a_problem(tmp_path):
    kind = FolderKind("a list", lambda folder: [][0])
    assert problem_of(tmp_path, kind) == "a file has another content"


@pytest.mark.parametrize("chosen", [".", "/", "cache"])
def test_any_folder_can_be_the_cache(tmp_path, monkeypatch, chosen):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JATTR_CACHE", chosen)
    programs, studies = cache_folders()
    assert programs == tmp_path / chosen
    assert studies == programs.parent / f"{programs.name}-rehearsals"
