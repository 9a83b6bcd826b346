from __future__ import annotations

import torch
import torch.nn.functional as F

from microexpr.models.featref import FeatRef
from microexpr.nn.targets import binary_loss


@torch.no_grad()
def test_equals_its_twin_branch_by_branch() -> None:
    torch.manual_seed(0)
    model = FeatRef(3, features=5).double().eval()
    x = torch.randn(2, 2, 28, 28, dtype=torch.float64)
    maps = []
    for plane, stream in enumerate(model.streams):
        y = x[:, plane : plane + 1]
        for block in stream:
            pooled = F.pad(y, (1, 1, 1, 1), value=-torch.inf).unfold(2, 3, 1).unfold(3, 3, 1)
            branches = [F.conv2d(y, block.one.weight, block.one.bias)]
            for net, pad in ((block.three, 1), (block.five, 2)):
                inner = F.conv2d(y, net[0].weight, net[0].bias).clamp(min=0)
                branches.append(F.conv2d(inner, net[2].weight, net[2].bias, padding=pad))
            last = block.pooled[1]
            branches.append(F.conv2d(pooled.amax(dim=(4, 5)), last.weight, last.bias))
            y = torch.cat(branches, dim=1).clamp(min=0)
            y = y.unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(4, 5))
        maps.append(y)
    shared = torch.cat(maps, dim=1)
    assert shared.shape == (2, 128, 7, 7)
    specific, proposals = [], []
    for k in range(3):
        weight = model.attention.weight[k, :, 0, 0]
        factor = torch.sigmoid((shared * weight[:, None, None]).sum(1) + model.attention.bias[k])
        seen = (shared * factor[:, None]).reshape(2, -1)
        branch = model.specific[k]
        specific.append((seen @ branch.weight.T + branch.bias).clamp(min=0))
        proposals.append(model.proposals[k](specific[-1]))
    logits = model.head(torch.cat(specific, dim=1))
    torch.testing.assert_close(model(x), logits)
    y = torch.tensor([2, 0])
    wanted = F.cross_entropy(logits, y) + binary_loss(torch.cat(proposals, dim=1), y)
    torch.testing.assert_close(model.loss(x, y, 0.0), wanted)
