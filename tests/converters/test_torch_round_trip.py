"""Files that PyTorch itself writes, read back bit by bit."""

from collections import OrderedDict

import numpy as np
import pytest
from jattr.converters.torch_file import find_state_dict, read_checkpoint

from jattr.errors import CheckpointError

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.slow
DTYPES = [
    "float64",
    "float32",
    "float16",
    "bfloat16",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint8",
    "uint16",
    "bool",
]


def raw(array):
    """The elements of a torch tensor as bytes."""
    return array.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_torch_writes_is_read_bit_by_bit(protocol, new_format, tmp_path):
    torch.manual_seed(0)
    line = torch.randn(60)
    state = OrderedDict({name: (line * 50).abs().to(getattr(torch, name)) for name in DTYPES})
    state |= {
        "turned": line.view(3, 20).t(),
        "part": line[7:20:3],
        "scalar": torch.tensor(3),
        "empty": line[:0],
    }
    state |= {"parameter": torch.nn.Parameter(line), "expanded": line[:1].expand(5, 5)}
    layers = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3))
    saved = {
        "net": state,
        "layers": layers.state_dict(),
        "epoch": 3,
        "array": np.arange(6.0).reshape(2, 3).T,
    }
    path = tmp_path / "weights"
    torch.save(saved, path, pickle_protocol=protocol, _use_new_zipfile_serialization=new_format)
    tree = read_checkpoint(path)
    np.testing.assert_array_equal(tree["array"], saved["array"])
    for part in ("net", "layers"):
        found = find_state_dict(tree, part)
        assert list(found) == list(saved[part])
        for name, array in saved[part].items():
            assert f"torch.{found[name].dtype}" == str(array.dtype)
            assert found[name].shape == tuple(array.shape)
            assert found[name].tobytes() == raw(array)


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "legacy"])
def test_whole_module_is_refused_with_advice(new_format, tmp_path):
    path = tmp_path / "weights"
    torch.save(torch.nn.Linear(2, 2), path, _use_new_zipfile_serialization=new_format)
    with pytest.raises(
        CheckpointError, match=r"holds a whole model .*torch\.save\(model\.state_dict\(\), PATH\)"
    ):
        read_checkpoint(path)


def test_optimiser_state_is_read(tmp_path):
    layer = torch.nn.Linear(2, 2)
    optimiser = torch.optim.Adam(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    path = tmp_path / "weights"
    torch.save({"optimiser": optimiser.state_dict()}, path)
    moment = read_checkpoint(path)["optimiser"]["state"][0]["exp_avg"]
    assert moment.tobytes() == raw(optimiser.state_dict()["state"][0]["exp_avg"])
