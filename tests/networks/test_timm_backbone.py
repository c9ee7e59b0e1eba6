import subprocess
import sys

import pytest
import torch

from clsgan.networks import build_loss_network

timm = pytest.importorskip("timm")


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (5, 33, 40)])
def test_a_convolutional_model_takes_any_image(shape):
    network = build_loss_network("timm:resnet10t", shape, 4)
    logits, features = network(torch.rand(2, *shape))
    assert logits.shape == (2, 4)
    assert features.shape == (2, network.num_features)


@pytest.mark.parametrize("model", ["resnet10t", "test_vit", "test_efficientnet"])
def test_one_pass_gives_what_the_model_gives(model):
    network = build_loss_network(f"timm:{model}", (3, 32, 32), 4).eval()
    x = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    ours, own = (logits.log_softmax(dim=1) for logits in (network(x)[0], network.model(x)))
    torch.testing.assert_close(ours, own)


def test_a_transformer_is_built_for_the_size_of_the_images():
    network = build_loss_network("timm:test_vit", (3, 48, 32), 4)
    assert network.model.patch_embed.img_size == (48, 32)


def test_the_nearest_models_are_named():
    with pytest.raises(ValueError, match=r"no model 'resnet10'.*'resnet10t'"):
        build_loss_network("timm:resnet10", (3, 32, 32), 4)


def test_a_size_that_the_model_cannot_take():
    with pytest.raises(ValueError, match=r"timm:test_vit does not work on images of shape"):
        build_loss_network("timm:test_vit", (3, 8, 8), 4)


@pytest.mark.parametrize("model", ["resnet10t", "test_vit", "mobilenetv3_small_050"])
def test_the_number_of_features_is_told_without_a_pass(model):
    network = build_loss_network(f"timm:{model}", (3, 32, 32), 4, try_out=False).eval()
    assert network(torch.zeros(1, 3, 32, 32))[1].shape == (1, network.num_features)


def test_a_model_of_two_classifiers():
    with pytest.raises(ValueError, match=r"no single linear classifier.*timm.create_model\('deit"):
        build_loss_network("timm:deit_tiny_distilled_patch16_224", (3, 32, 32), 4)


@pytest.mark.parametrize("change", ["num_features", "n_classes"])
def test_other_widths_than_the_classifier_tells(change):
    network = build_loss_network("timm:resnet10t", (3, 32, 32), 4)
    setattr(network, change, 5)
    with pytest.raises(ValueError, match="no single linear classifier on pooled features"):
        network.try_out((3, 32, 32))


def test_whether_the_images_fit_can_be_left_out():
    assert build_loss_network("timm:resnet10t", (3, 32, 32), 4, try_out=False).training
    build_loss_network("timm:test_vit", (3, 8, 8), 4, try_out=False)


def test_rows_and_options():
    with pytest.raises(ValueError, match="is for images"):
        build_loss_network("timm:resnet10t", (4,), 4)
    with pytest.raises(ValueError, match="'pretrained'"):
        build_loss_network("timm:resnet10t", (3, 32, 32), 4, {"pretraind": True})


def test_a_missing_timm_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match="pip install timm"):
        build_loss_network("timm:resnet10t", (3, 32, 32), 4)


def test_timm_is_imported_only_when_used():
    code = "import sys, clsgan.networks; sys.exit('timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
