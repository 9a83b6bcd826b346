from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from microexpr.errors import UserError
from microexpr.models.emrnet import EmrNet, reversed_gradient
from microexpr.nn.resnet import ResNet18


def test_parameters() -> None:
    with torch.device("meta"):
        plain, adversarial = EmrNet(3), EmrNet(3, adversary=True)
    assert sum(p.numel() for p in plain.parameters()) == 11_242_953
    assert sum(p.numel() for p in adversarial.parameters()) == 11_253_322


def test_the_last_map_is_split_after_its_third_row() -> None:
    torch.manual_seed(0)
    model = EmrNet(3, width=2).eval()
    assert model.split == 3
    x = torch.randn(1, 3, 224, 224)
    maps = model.backbone(x)
    assert maps.shape == (1, 16, 7, 7)
    parts = []
    for rows, fc in ((range(3), model.fc_top), (range(3, 7), model.fc_bottom)):
        mean = torch.stack([maps[0, :, r, c] for r in rows for c in range(7)]).mean(dim=0)
        parts.append(torch.tanh(fc[0].weight @ mean + fc[0].bias))
    both = torch.cat(parts)
    logits = model.classifier.weight @ both + model.classifier.bias
    torch.testing.assert_close(model(x)[0], logits)
    y = torch.tensor([1])
    top = model.classifier_top.weight @ parts[0] + model.classifier_top.bias
    bottom = model.classifier_bottom.weight @ parts[1] + model.classifier_bottom.bias
    wanted = sum(F.cross_entropy(v[None], y) for v in (logits, top, bottom))
    torch.testing.assert_close(model.loss(x, y, 0.0), wanted)


def test_the_gradient_is_reversed() -> None:
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    out = reversed_gradient(x, 0.25)
    torch.testing.assert_close(out, x)
    torch.autograd.backward((out * torch.tensor([3.0, 4.0])).sum())
    assert x.grad is not None
    assert x.grad.tolist() == [-0.75, -1.0]


def test_the_adversary_pushes_features_the_other_way() -> None:
    torch.manual_seed(0)
    model = EmrNet(3, adversary=True, **EmrNet.smallest).eval()
    x, y = torch.randn(4, 3, 64, 64), torch.tensor([0, 1, 2, 0])
    macro = torch.tensor([True, False, True, False])
    loss = model.adversarial_loss(x, y, macro, 1000)
    features = torch.cat(model._parts(x), dim=1).detach().requires_grad_()
    domain = model.discriminator(features).squeeze(1)
    extra = F.binary_cross_entropy_with_logits(domain, (~macro).float())
    torch.testing.assert_close(loss, model.loss(x, y, 0.0) + extra)
    torch.autograd.backward(extra)
    strength = 2 / (1 + math.exp(-1)) - 1
    head = model.fc_top[0].weight
    own = torch.autograd.grad(loss - model.loss(x, y, 0.0), head)[0]
    top = torch.cat(model._parts(x), dim=1)
    plain = torch.autograd.grad(top, head, features.grad)[0]
    torch.testing.assert_close(own, -strength * plain, atol=1e-6, rtol=1e-4)


def test_face_weights_and_bad_settings() -> None:
    model, whole = EmrNet(3, **EmrNet.smallest), ResNet18(width=2)
    assert model.load_backbone(whole.state_dict()) is model
    assert torch.equal(model.backbone.layer4[0].conv1.weight, whole.layer4[0].conv1.weight)
    with pytest.raises(UserError, match="image 32 is too small"):
        EmrNet(3, image=32)
    with pytest.raises(UserError, match="adversary=True"):
        model.adversarial_loss(torch.zeros(1), torch.zeros(1), torch.zeros(1), 0)
