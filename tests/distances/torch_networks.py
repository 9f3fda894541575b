"""Inception v3 and LPIPS in PyTorch, written from the papers and by torchvision's names.

PyTorch is imported lazily.
"""

import numpy as np

ALEX = (
    "conv 4 2",
    "relu*",
    "pool",
    "conv 1 2",
    "relu*",
    "pool",
    "conv 1 1",
    "relu*",
    "conv 1 1",
    "relu*",
    "conv 1 1",
    "relu*",
)
VGG_LEVEL, VGG_LONG = (
    ("conv 1 1", "relu", "conv 1 1", "relu*"),
    ("conv 1 1", "relu", "conv 1 1", "relu", "conv 1 1", "relu*"),
)
HALVE = ("halve",)
VGG = (*VGG_LEVEL, *HALVE, *VGG_LEVEL, *HALVE, *VGG_LONG, *HALVE, *VGG_LONG, *HALVE, *VGG_LONG)
SQUEEZE = (
    "conv 2 0",
    "relu*",
    "pool ceil",
    "fire",
    "fire*",
    "pool ceil",
    "fire",
    "fire*",
    "pool ceil",
    "fire*",
    "fire*",
    "fire*",
    "fire*",
)
# layers in torchvision's order; * where LPIPS looks
BACKBONES = {"alex": ALEX, "vgg": VGG, "squeeze": SQUEEZE}


def torch_lpips(tensors, backbone, a, b):
    """LPIPS 0.1 of NumPy images a, b [n, H, W, 3]: [n]."""
    import torch

    tensors = {name: torch.from_numpy(np.array(array)) for name, array in tensors.items()}
    total = 0.0
    looks = [
        _backbone(tensors, BACKBONES[backbone], torch.from_numpy(x).permute(0, 3, 1, 2))
        for x in (a, b)
    ]
    for i, (x, y) in enumerate(zip(*looks, strict=True)):
        x, y = (f / (f.pow(2).sum(1, keepdim=True).sqrt() + 1e-10) for f in (x, y))
        total = total + torch.nn.functional.conv2d(
            (x - y) ** 2, tensors[f"lin{i}.model.1.weight"]
        ).mean((1, 2, 3))
    return total.numpy()


def _backbone(tensors, layers, x):
    import torch

    F = torch.nn.functional
    x = (x - torch.tensor([-0.030, -0.088, -0.188])[:, None, None]) / torch.tensor(
        [0.458, 0.448, 0.450]
    )[:, None, None]

    def conv(name, x, **options):
        return F.conv2d(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"], **options)

    looks = []
    for i, text in enumerate(layers):
        kind, *numbers = text.rstrip("*").split()
        if kind == "conv":
            x = conv(f"features.{i}", x, stride=int(numbers[0]), padding=int(numbers[1]))
        elif kind == "relu":
            x = F.relu(x)
        elif kind == "halve":
            x = F.max_pool2d(x, 2)
        elif kind == "pool":
            x = F.max_pool2d(x, 3, 2, ceil_mode=numbers == ["ceil"])
        else:
            x = F.relu(conv(f"features.{i}.squeeze", x))
            wide = conv(f"features.{i}.expand3x3", x, padding=1)
            x = F.relu(torch.cat([conv(f"features.{i}.expand1x1", x), wide], 1))
        looks += [x] if text.endswith("*") else []
    return looks


def torch_inception(tensors, x, *, fid):
    """Activations of Inception v3, NumPy [n, h, w, c] by layer, of NumPy images x [n, H, W, 3]."""
    import torch

    F = torch.nn.functional
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in tensors.items()}
    found = {}

    def conv(name, x, stride=1):
        """Convolution that keeps the size where its stride is 1 and it is none of the three that
        do not.
        """
        kernel = tensors[f"{name}.conv.weight"]
        shrinks = stride == 2 or name in ("Conv2d_2a_3x3", "Conv2d_4a_3x3")
        padding = (0, 0) if shrinks else tuple(side // 2 for side in kernel.shape[2:])
        x = F.conv2d(x, kernel, None, stride, padding)
        part = [
            tensors[f"{name}.bn.{leaf}"]
            for leaf in ("running_mean", "running_var", "weight", "bias")
        ]
        return F.relu(F.batch_norm(x, *part, False, 0.0, 1e-3))

    def chain(name, x, *leaves, stride=1):
        for leaf in leaves:
            x = conv(f"{name}.{leaf}", x, stride if leaf == leaves[-1] else 1)
        return x

    def pool(name, x):
        if fid and name == "Mixed_7c":
            return chain(name, F.max_pool2d(x, 3, 1, 1), "branch_pool")
        return chain(name, F.avg_pool2d(x, 3, 1, 1, count_include_pad=not fid), "branch_pool")

    def block(name, x):
        def numbered(stem, *ends):
            return [f"{stem}_{end}" for end in ends]

        if name[:7] == "Mixed_5":
            parts = [
                chain(name, x, "branch1x1"),
                chain(name, x, *numbered("branch5x5", 1, 2)),
                chain(name, x, *numbered("branch3x3dbl", 1, 2, 3)),
                pool(name, x),
            ]
        elif name == "Mixed_6a":
            double = chain(name, x, *numbered("branch3x3dbl", 1, 2, 3), stride=2)
            parts = [chain(name, x, "branch3x3", stride=2), double, F.max_pool2d(x, 3, 2)]
        elif name[:7] == "Mixed_6":
            parts = [
                chain(name, x, "branch1x1"),
                chain(name, x, *numbered("branch7x7", 1, 2, 3)),
                chain(name, x, *numbered("branch7x7dbl", 1, 2, 3, 4, 5)),
                pool(name, x),
            ]
        elif name == "Mixed_7a":
            long = chain(name, x, *numbered("branch7x7x3", 1, 2, 3, 4), stride=2)
            parts = [
                chain(name, x, *numbered("branch3x3", 1, 2), stride=2),
                long,
                F.max_pool2d(x, 3, 2),
            ]
        else:
            one, two = (
                chain(name, x, "branch3x3_1"),
                chain(name, x, *numbered("branch3x3dbl", 1, 2)),
            )
            split = [chain(name, one, f"branch3x3_2{side}") for side in "ab"]
            split += [chain(name, two, f"branch3x3dbl_3{side}") for side in "ab"]
            parts = [chain(name, x, "branch1x1"), *split, pool(name, x)]
        return torch.cat(parts, 1)

    x = torch.from_numpy(x).permute(0, 3, 1, 2)
    for name in ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3"):
        x = F.max_pool2d(x, 3, 2) if name == "3b_1x1" else x
        found[f"Conv2d_{name}"] = x = conv(f"Conv2d_{name}", x, stride=2 if name == "1a_3x3" else 1)
    x = F.max_pool2d(x, 3, 2)
    for name in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"):
        found[f"Mixed_{name}"] = x = block(f"Mixed_{name}", x)
    found["avgpool"] = x = x.mean((2, 3), keepdim=True)
    found["logits"] = F.linear(x.flatten(1), tensors["fc.weight"], tensors["fc.bias"])[
        :, :, None, None
    ]
    return {name: x.permute(0, 2, 3, 1).numpy() for name, x in found.items()}
