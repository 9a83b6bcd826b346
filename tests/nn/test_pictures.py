from __future__ import annotations

import colorsys
import math

import cv2
import numpy as np
import pytest
import torch

from microexpr.nn.pictures import flow_colours, imagenet


def test_colours_pixel_by_pixel() -> None:
    u, v = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)).double()
    got = flow_colours(u, v)
    assert got.shape == (3, 3, 4, 5)
    for t in range(3):
        m = torch.hypot(u[t], v[t])
        for r in range(4):
            for c in range(5):
                hue = math.atan2(v[t, r, c], u[t, r, c]) / (2 * math.pi) % 1
                value = float((m[r, c] - m.min()) / (m.max() - m.min()))
                wanted = colorsys.hsv_to_rgb(hue, 1.0, value)
                assert got[t, :, r, c].tolist() == pytest.approx(wanted, abs=1e-9)


def test_colours_are_those_of_opencv() -> None:
    random = np.random.default_rng(1)
    u, v = random.normal(size=(2, 16, 16)).astype(np.float32)
    magnitude, angle = cv2.cartToPolar(u, v)
    hsv = np.full((16, 16, 3), 255, np.uint8)
    hsv[..., 0] = angle * 180 / np.pi / 2
    hsv[..., 2] = cv2.normalize(magnitude, None, 0, 255, cv2.NORM_MINMAX)
    wanted = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).transpose(2, 0, 1)
    got = flow_colours(torch.as_tensor(u), torch.as_tensor(v)).numpy() * 255
    assert np.abs(got - wanted).max() < 10  # there hue has 180 steps, brightness 255


def test_rest_is_black_and_pictures_are_scaled() -> None:
    assert flow_colours(torch.ones(1, 2, 2), torch.zeros(1, 2, 2)).abs().max() == 0
    x = torch.rand(2, 3, 4, 4) * 255
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    torch.testing.assert_close(imagenet(x), (x / 255 - mean) / std)
