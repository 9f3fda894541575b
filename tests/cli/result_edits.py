"""Edits of what `jattr attribute` wrote, and how `jattr verify` must answer to them."""

import hashlib
import json

import numpy as np


def change_json(folder, change):
    path = folder / "result" / "result.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def change_latents(folder, change, *, keep_digest=False):
    path = folder / "result" / "latents.npz"
    with np.load(path) as file:
        arrays = dict(file)
    change(arrays)
    np.savez(path, **arrays)
    if keep_digest:  # the change is stated, so that only the test itself can find it
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        change_json(folder, lambda data: data["latents"].update(sha256=digest))


def differs(outcome, words):
    code, text, errors = outcome
    assert code == 3
    said = [line for line in errors.splitlines() if " searches " not in line]  # not progress
    assert len(said) == 1
    assert any(line.startswith("DIFFERS") and words in line for line in text.splitlines()), text
