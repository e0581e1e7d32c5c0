"""Networks, their checkpoints, what of them can be pruned, and judging them."""

from .checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from .efficientnet import EfficientNetLite, efficientnet_lite0
from .evaluate import accuracy, logits
from .head import Head, ModelError, adapt_head, find_head, select_classes
from .layout import channels_last
from .mobilenet import MobileNetV2, mobilenet_v2
from .pretrained import load_efficientnet_lite0
from .prunable import LayerReport, PruningReport, Verdict, examine_layers
from .registry import ARCHITECTURES, Architecture, build
from .resnet import ResNet, resnet18, resnet20, resnet50, resnet56
from .source import open_model
from .spec import ModelSpec, image_shape
from .user import make_model
from .vgg import VGG, vgg16, vgg16_bn
from .weights import load_model, load_weights

__all__ = [
    "ARCHITECTURES",
    "VGG",
    "Architecture",
    "CheckpointError",
    "EfficientNetLite",
    "Head",
    "LayerReport",
    "MobileNetV2",
    "ModelError",
    "ModelSpec",
    "PruningReport",
    "ResNet",
    "Verdict",
    "accuracy",
    "adapt_head",
    "build",
    "channels_last",
    "efficientnet_lite0",
    "examine_layers",
    "find_head",
    "image_shape",
    "load_checkpoint",
    "load_efficientnet_lite0",
    "load_model",
    "load_weights",
    "logits",
    "make_model",
    "mobilenet_v2",
    "open_model",
    "resnet18",
    "resnet20",
    "resnet50",
    "resnet56",
    "save_checkpoint",
    "select_classes",
    "vgg16",
    "vgg16_bn",
]
