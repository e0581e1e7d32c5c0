"""Networks, their checkpoints, and judging them."""

from .checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from .evaluate import accuracy, logits
from .head import ModelError, select_classes
from .layout import channels_last
from .resnet import ResNet, resnet20

__all__ = [
    "CheckpointError",
    "ModelError",
    "ResNet",
    "accuracy",
    "channels_last",
    "load_checkpoint",
    "logits",
    "resnet20",
    "save_checkpoint",
    "select_classes",
]
