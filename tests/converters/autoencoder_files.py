"""The smallest file of diffusers' AutoencoderKL, and its configuration."""

import numpy as np

NEW_NAMES, OLD_NAMES = ("to_q", "to_k", "to_v", "to_out.0"), ("query", "key", "value", "proj_attn")
CONFIG = {"norm_num_groups": 2, "sample_size": 32}


def state_dict(names=NEW_NAMES):
    """The smallest autoencoder with two sizes, widths 4 and 8, 2 latent channels, 1 layer for
    each block.
    """
    shapes = {}

    def conv(name, inputs, outputs, size=3):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (outputs, inputs, size, size), (outputs,)

    def norm(name, channels):
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (channels,)

    def resnet(name, inputs, outputs):
        norm(f"{name}.norm1", inputs), conv(f"{name}.conv1", inputs, outputs)
        norm(f"{name}.norm2", outputs), conv(f"{name}.conv2", outputs, outputs)
        if inputs != outputs:
            conv(f"{name}.conv_shortcut", inputs, outputs, 1)

    for part in ("encoder", "decoder"):
        resnet(f"{part}.mid_block.resnets.0", 8, 8), resnet(f"{part}.mid_block.resnets.1", 8, 8)
        norm(f"{part}.mid_block.attentions.0.group_norm", 8)
        for name in names:
            shapes[f"{part}.mid_block.attentions.0.{name}.weight"] = (8, 8)
            shapes[f"{part}.mid_block.attentions.0.{name}.bias"] = (8,)
    conv("encoder.conv_in", 3, 4), norm("encoder.conv_norm_out", 8), conv("encoder.conv_out", 8, 4)
    (
        resnet("encoder.down_blocks.0.resnets.0", 4, 4),
        conv("encoder.down_blocks.0.downsamplers.0.conv", 4, 4),
    )
    resnet("encoder.down_blocks.1.resnets.0", 4, 8)
    conv("decoder.conv_in", 2, 8), norm("decoder.conv_norm_out", 4), conv("decoder.conv_out", 4, 3)
    for j in range(2):
        resnet(f"decoder.up_blocks.0.resnets.{j}", 8, 8)
        resnet(f"decoder.up_blocks.1.resnets.{j}", 4 if j else 8, 4)
    conv("decoder.up_blocks.0.upsamplers.0.conv", 8, 8)
    conv("quant_conv", 4, 4, 1), conv("post_quant_conv", 2, 2, 1)
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
