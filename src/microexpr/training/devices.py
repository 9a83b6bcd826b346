"""The devices of one training: those of its recipe, or one for each process of torchrun."""

from __future__ import annotations

import atexit
import os

import torch.distributed
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from torch import Tensor

from microexpr.training.recipe import Recipe


def open_fabric(recipe: Recipe) -> Fabric:
    """Devices and precision of a training; further processes are started where it needs them.

    Under torchrun every process that it has started takes part, on one machine or on several,
    whatever `Recipe.devices` says. SLURM's variables are not looked at: a job of many tasks would
    be taken for one training of many devices.
    """
    if torch.distributed.is_torchelastic_launched():
        devices, nodes = (int(os.environ[n]) for n in ("LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE"))
        fabric = Fabric(devices=devices, num_nodes=nodes, precision=recipe.precision)
    else:
        alone = LightningEnvironment()
        fabric = Fabric(devices=recipe.devices, precision=recipe.precision, plugins=[alone])
    if fabric.world_size > 1:
        fabric.launch()
        atexit.register(_leave)
    return fabric


def _leave() -> None:
    """Ends the threads of gloo while there is still an interpreter: later they would abort it.

    PyTorch knows of it (pull request 179291); Fabric does this for NCCL only.
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def is_first() -> bool:
    """Whether this process is the one that writes and speaks for all of a training."""
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"


def is_shared(recipe: Recipe) -> bool:
    """Whether one training would have several processes."""
    return recipe.devices > 1 or torch.distributed.is_torchelastic_launched()


def share(fabric: Fabric, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, float]:
    """This process's part of a batch, on its device, and the weight of its mean loss.

    Gradients are averaged over processes, each counting as much as any other. Parts differ by a
    clip where the batch cannot be divided evenly; the weight makes every clip count the same. A
    process for which nothing is left gets a clip of weight 0, for all have to take every step.

    Args:
        fabric: Tells which of how many processes this is.
        x: ``(b, ...)`` the whole batch.
        y: ``(b, ...)`` its targets.
    """
    rank, world = fabric.global_rank, fabric.world_size
    if world == 1:
        return x.to(fabric.device), y.to(fabric.device), 1.0
    part = slice(rank, None, world) if rank < len(x) else slice(0, 1)
    weight = len(range(rank, len(x), world)) * world / len(x)
    return x[part].to(fabric.device), y[part].to(fabric.device), weight
