"""Networks, their checkpoints, and judging them."""

from .checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from .efficientnet import EfficientNetLite, efficientnet_lite0
from .evaluate import accuracy, logits
from .head import ModelError, select_classes
from .layout import channels_last
from .mobilenet import MobileNetV2, mobilenet_v2
from .pretrained import load_efficientnet_lite0
from .registry import ARCHITECTURES, build
from .resnet import ResNet, resnet18, resnet20, resnet50
from .vgg import VGG, vgg16, vgg16_bn

__all__ = [
    "ARCHITECTURES",
    "VGG",
    "CheckpointError",
    "EfficientNetLite",
    "MobileNetV2",
    "ModelError",
    "ResNet",
    "accuracy",
    "build",
    "channels_last",
    "efficientnet_lite0",
    "load_checkpoint",
    "load_efficientnet_lite0",
    "logits",
    "mobilenet_v2",
    "resnet18",
    "resnet20",
    "resnet50",
    "save_checkpoint",
    "select_classes",
    "vgg16",
    "vgg16_bn",
]
