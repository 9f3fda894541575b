"""The table of speed by version that the comparison with PyTorch appends to."""

from regression_table import COLUMNS, append, rows_of

RESULT = {
    "a": [
        {
            "generator": "g",
            "lanes": 8,
            "jattr_steps_per_second": 1234.5,
            "jattr_ms_a_latent_step": 0.81,
            "torch_ms_a_latent_step": 1.62,
            "ratio": 2.0,
        }
    ],
    "d": [
        {"generator": "g", "lanes": 8, "jattr_peak_mib": 345.6, "torch_peak_mib": 456.7},
        {"generator": "g", "lanes": 32, "jattr_peak_mib": 400.0, "torch_peak_mib": 500.0},
    ],
    "versions": {"jattr": "0.1.0"},
    "commit": "abc",
    "matmul_gflops": 321.4,
    "load_average": 0.25,
}


def test_a_row_states_speed_memory_and_the_machine():
    first, second = rows_of(RESULT)
    assert dict(zip(COLUMNS, first, strict=True)) == {
        "version": "0.1.0",
        "commit": "abc",
        "matmul GFLOP/s": "321",
        "load": "0.2",
        "generator": "g",
        "lanes": "8",
        "latent-steps/s": "1234",
        "ms a latent-step": "0.81",
        "PyTorch ms": "1.62",
        "PyTorch / ours": "2",
        "peak MiB": "346",
        "PyTorch MiB": "457",
    }
    assert second[5:10] == ("32", "-", "-", "-", "-")


def test_rows_are_appended_below_one_heading(tmp_path):
    path = tmp_path / "table.md"
    append(path, RESULT)
    append(path, RESULT)
    lines = path.read_text().splitlines()
    assert len(lines) == 2 + 2 * 2
    assert {line.count("|") for line in lines} == {len(COLUMNS) + 1}
    assert [line.startswith("| version") for line in lines] == [True, *[False] * 5]
