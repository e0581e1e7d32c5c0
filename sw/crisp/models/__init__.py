"""Networks, their checkpoints, and judging them."""

from .checkpoint import CheckpointError, load_checkpoint, load_weights, save_checkpoint
from .evaluate import accuracy, logits
from .head import select_classes
from .resnet import ResNet, resnet20

__all__ = [
    "CheckpointError",
    "ResNet",
    "accuracy",
    "load_checkpoint",
    "load_weights",
    "logits",
    "resnet20",
    "save_checkpoint",
    "select_classes",
]
