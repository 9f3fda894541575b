"""Writing generator folders: whole or not at all."""

import errno
import os

import pytest
from jattr.converters.layered import convert_layered
from tiny_generator import tiny_card_data, tiny_weights

from jattr.errors import GeneratorError, OutputError
from jattr.generators import params_files, store
from jattr.generators.card import parse_card
from jattr.generators.store import load_generator, save_generator


def parts(**options):
    card = parse_card(tiny_card_data(**options))
    return card, convert_layered(card, tiny_weights())


def test_a_folder_that_exists_is_replaced_only_if_asked_and_all_of_it_is_a_generators(tmp_path):
    save_generator(tmp_path / "tiny", *parts())
    (tmp_path / "tiny" / "mine").write_text("keep")
    for overwrite, words in ((False, "exists already"), (True, "it holds 'mine'")):
        with pytest.raises(OutputError, match=words):
            save_generator(tmp_path / "tiny", *parts(), overwrite=overwrite)
        assert sorted(os.listdir(tmp_path / "tiny")) == ["card.json", "mine", "params"]
    (tmp_path / "tiny" / "mine").unlink()
    with pytest.raises(OutputError, match="which this command"):
        save_generator(
            tmp_path / "tiny", *parts(), overwrite=True, protected=[tmp_path / "tiny" / "card.json"]
        )
    save_generator(tmp_path / "tiny", *parts(), overwrite=True)
    assert sorted(os.listdir(tmp_path / "tiny")) == ["card.json", "params"]
    assert os.listdir(tmp_path) == ["tiny"]


def test_a_file_is_never_replaced(tmp_path):
    (tmp_path / "tiny").write_text("keep")
    with pytest.raises(OutputError, match="not a folder"):
        save_generator(tmp_path / "tiny", *parts(), overwrite=True)
    assert (tmp_path / "tiny").read_text() == "keep"


def full_disk(*_args, **_options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("module", "function"),
    [(store, "write_params"), (params_files, "_checkpointer"), (store.Path, "write_text")],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_full_disk_leaves_nothing_half_written(
    tmp_path, monkeypatch, module, function, overwrite
):
    if overwrite:
        save_generator(tmp_path / "tiny", *parts(name="old"))
    monkeypatch.setattr(module, function, full_disk)
    with pytest.raises(OutputError, match="No space left on device"):
        save_generator(tmp_path / "tiny", *parts(), overwrite=overwrite)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == (["tiny"] if overwrite else [])
    assert not overwrite or load_generator(tmp_path / "tiny").name == "old"


def test_a_rename_that_fails_brings_the_old_folder_back(tmp_path, monkeypatch):
    save_generator(tmp_path / "tiny", *parts(name="old"))
    rename = store.Path.rename

    def fail_once_moved(self, target):
        if self.suffix == ".tmp":
            full_disk()
        return rename(self, target)

    monkeypatch.setattr(store.Path, "rename", fail_once_moved)
    with pytest.raises(OutputError):
        save_generator(tmp_path / "tiny", *parts(), overwrite=True)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["tiny"]
    assert load_generator(tmp_path / "tiny").name == "old"


@pytest.mark.parametrize("place", ["file/tiny", "a\0b"])
def test_places_that_cannot_be_written(tmp_path, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        save_generator(tmp_path / place, *parts())


def test_tensors_that_are_not_the_cards_are_not_written(tmp_path):
    card, params = parts()
    del params["layers"]["0"]
    with pytest.raises(GeneratorError, match="layers/0/kernel is missing"):
        save_generator(tmp_path / "tiny", card, params)
    assert not os.listdir(tmp_path)
