"""The form in which an image tower is run computes what the tower does."""

import copy

import pytest
import torch
from torch import nn

from ccli.clip.model import FrozenClip, fuse_batchnorm


def resnet(seed=0):
    """open_clip's ResNet with statistics and scales that are not those of the start."""
    from open_clip.modified_resnet import ModifiedResNet

    torch.manual_seed(seed)
    model = ModifiedResNet((2, 1, 1, 2), output_dim=16, heads=4, image_size=64, width=16)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model.eval().requires_grad_(False)


def test_a_folded_resnet_gives_the_same_features():
    plain, x = resnet(), torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    expected = plain(x)
    folded = fuse_batchnorm(copy.deepcopy(plain))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert all(not p.requires_grad for p in folded.parameters())
    assert folded.layer1[0].conv2.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(folded(x), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    assert not torch.allclose(fuse_batchnorm(resnet(seed=2))(x), expected, atol=1e-2 * float(expected.abs().max()))


def test_another_tower_is_left_as_it_is():
    from open_clip.transformer import VisionTransformer

    tower = VisionTransformer(32, 8, 32, 1, 2, 2.0, output_dim=8)
    before = {name: x.clone() for name, x in tower.state_dict().items()}
    assert fuse_batchnorm(tower) is tower
    assert all(torch.equal(x, before[name]) for name, x in tower.state_dict().items())


def test_the_packaged_model_gives_open_clips_features():
    from open_clip.factory import create_model

    clip = FrozenClip("demo-clip")
    folder = clip._weights.path.parent
    theirs = create_model(f"local-dir:{folder}").eval()
    x = torch.randn(5, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(clip.encode_image(x), theirs.encode_image(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("size", "images"), [(64, 64), (224, 16), (336, 7), (2000, 1)])
def test_as_many_images_at_once_as_fit_the_caches(size, images, monkeypatch):
    from dataclasses import replace

    clip = FrozenClip("demo-clip")
    monkeypatch.setitem(vars(clip), "facts", replace(clip.facts, image_size=size))
    assert clip.images_at_once == images
    clip.device = torch.device("cuda")
    assert clip.images_at_once == 64
