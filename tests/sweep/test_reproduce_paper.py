"""The script for the official generators, to its end on small stand-ins in their formats."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import reproduce_paper
from fake_files import random_tensors, state_dict_of
from fuzz_files import mapping, program, state_entries, zip_file

from jattr.converters import progan, stylegan, stylegan2
from jattr.generators.progan import Architecture as Progan
from jattr.generators.stylegan import Architecture as Stylegan
from jattr.generators.stylegan2 import Architecture as Stylegan2
from jattr.sweep.store import open_for_reading

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "scripts" / "reproduce_paper.py"


def run(*options):
    command = [sys.executable, str(SCRIPT), *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_files_that_are_wanted_are_named():
    done = run("--list")
    assert done.returncode == 0
    assert all(
        name in done.stdout
        for name in ("pggan_celebahq1024.pth", "stylegan_ffhq1024.pth", "ffhq.pkl")
    )


def test_files_that_are_missing_are_named_all_at_once(tmp_path):
    done = run("--weights", tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert all(
        name in done.stderr
        for name in ("pggan_celebahq1024.pth", "stylegan_ffhq1024.pth", "ffhq.pkl")
    )


@pytest.mark.parametrize("text", ["mine.pth", "progan", "gan=mine.pth"])
def test_a_file_of_no_family_is_refused(text, tmp_path, monkeypatch, capsys):
    arguments = ["--weights", str(tmp_path), "--file", text, "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
    with pytest.raises(SystemExit) as ended:
        reproduce_paper.main()
    assert ended.value.code == 2
    assert f"--file {text}: write FAMILY=NAME" in capsys.readouterr().err


def of_smaller(name):
    return {
        f"{name}.weight": np.ones((3, 5, 1, 1), np.float32),
        f"{name}.bias": np.zeros(3, np.float32),
    }


SMALL = {  # 8x8 pixels; the fields are those that tell one family from another
    "pggan_celebahq1024.pth": ("progan", progan.FORMATS[0], Progan(channels=(5, 4), z_dim=6)),
    "stylegan_ffhq1024.pth": (
        "stylegan",
        stylegan.FORMATS[0],
        Stylegan(channels=(5, 4), z_dim=6, mapping_widths=(6, 6)),
    ),
    "stylegan2_ffhq1024.pth": (
        "stylegan2",
        next(format for format in stylegan2.FORMATS if format.name == "stylegan2-genforce"),
        Stylegan2(channels=(5, 4), z_dim=6, mapping_widths=(6, 6), equalised=True),
    ),
}


UNUSED = {  # of smaller images, which official files hold, too
    "progan": {"lod": np.float32(0), **of_smaller("output0")},
    "stylegan": {"synthesis.lod": np.float32(0), **of_smaller("synthesis.output0")},
    "stylegan2": {},
}


def write_stand_ins(folder):
    """Write files as genforce's model zoo has them, of tiny networks with random weights."""
    for seed, (name, (kind, format, arch)) in enumerate(SMALL.items()):
        tensors = {**UNUSED[kind], **state_dict_of(format, arch, random_tensors(kind, arch, seed))}
        tensors = {key: np.ascontiguousarray(array) for key, array in tensors.items()}
        saved = program(mapping({"generator_smooth": state_entries(tensors)}))
        storages = {str(number): array for number, array in enumerate(tensors.values())}
        (folder / name).write_bytes(zip_file(saved, storages))


def test_the_whole_protocol_runs_to_its_end_on_small_stand_ins(tmp_path):
    write_stand_ins(tmp_path)
    done = run("--weights", tmp_path, "--out", tmp_path / "out", "--try")
    assert done.returncode == 0, done.stderr
    assert "18 of 18" in done.stdout
    assert {"report.html", "metrics.csv"} <= {
        path.name for path in (tmp_path / "out" / "report").iterdir()
    }
    with open_for_reading(tmp_path / "out") as store:
        cells = store.table("cells")
        assert cells.column("status") == ["done"] * 18
        assert set(cells.column("setting")) == {"default", "paper"}
        assert set(store.table("restarts").column("restart")) == {0}
        # styles first, then what is behind them
        assert max(store.table("restarts").column("steps")) < 20


def test_golden_files_are_planned(reference, tmp_path):
    golden = reference / "golden"
    for name, source in (
        ("pggan_celebahq1024.pth", golden / "genforce_pggan_32" / "state_dict.pth"),
        # in StyleGAN's place: no golden one has 32 pixels
        ("other.pth", golden / "ganzoo_pgan_32" / "state_dict.pth"),
        ("ffhq.pkl", golden / "sg2ada_resnet_32_cond" / "network.pkl"),
    ):
        shutil.copy(source, tmp_path / name)
    options = [
        "--weights",
        tmp_path,
        "--file",
        "stylegan=other.pth",
        "--pictures",
        "1",
        "--out",
        tmp_path / "out",
    ]
    planned = run(*options, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "cells=18" in planned.stdout
    assert "SHA-256" in planned.stdout
    assert not (tmp_path / "out").exists()
    assert len(list((tmp_path / "out-generators").iterdir())) == 3
