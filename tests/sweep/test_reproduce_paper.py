"""The script for the official generators, on small stand-ins in their formats."""

import shutil
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "reproduce_paper.py"


def run(*options):
    command = [sys.executable, str(SCRIPT), *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_files_that_are_wanted_are_named():
    done = run("--list")
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("pggan_celebahq1024.pth", "stylegan_ffhq1024.pth", "ffhq.pkl"))


def test_files_that_are_missing_are_named_all_at_once(tmp_path):
    done = run("--weights", tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert all(name in done.stderr for name in ("pggan_celebahq1024.pth", "stylegan_ffhq1024.pth", "ffhq.pkl"))


def test_small_stand_ins_go_through_the_whole(reference, tmp_path):
    golden = reference / "golden"
    for name, source in (
        ("pggan_celebahq1024.pth", golden / "genforce_pggan_32" / "state_dict.pth"),
        ("other.pth", golden / "ganzoo_pgan_32" / "state_dict.pth"),  # in StyleGAN's place: no golden one has 32 pixels
        ("ffhq.pkl", golden / "sg2ada_resnet_32_cond" / "network.pkl"),
    ):
        shutil.copy(source, tmp_path / name)
    options = ["--weights", tmp_path, "--file", "stylegan=other.pth", "--pictures", "1", "--out", tmp_path / "out"]
    planned = run(*options, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "cells=18" in planned.stdout
    assert "SHA-256" in planned.stdout
    assert not (tmp_path / "out").exists()
    assert len(list((tmp_path / "out-generators").iterdir())) == 3
