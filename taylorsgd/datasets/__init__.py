r"""Data and small nets to measure on: image sets from their own files, and classifiers of them. Nothing is downloaded.

A classifier of images x with labels y has the losses of a landscape, whose population the images are,

    l_{(x, y)}(θ) = −log softmax(scores(x; θ))_y.

`digits()` is a tanh network on scikit-learn's digits, always at hand; `logistic_regression` and `convolutional_net`
are the paper's (Tenka, C.2.1), for arrays such as those of `fashion_mnist`, `read_idx_images` or `read_cifar10`.
`attention_head` classifies sequences of tokens by soft attention, and `with_dropout` makes a random mask part of the
point of any loss.
"""

from typing import TYPE_CHECKING

from taylorsgd._lazy import listing, loader

if TYPE_CHECKING:
    from taylorsgd.datasets.attention import attention_head
    from taylorsgd.datasets.cifar10 import read_cifar10
    from taylorsgd.datasets.dropout import with_dropout
    from taylorsgd.datasets.fashion import fashion_mnist
    from taylorsgd.datasets.handwriting import digits
    from taylorsgd.datasets.idx import read_idx_images
    from taylorsgd.datasets.nets import convolutional_net, logistic_regression

__all__ = [
    "attention_head", "convolutional_net", "digits", "fashion_mnist", "logistic_regression", "read_cifar10",
    "read_idx_images", "with_dropout",
]  # fmt: skip

NAMES = {
    "taylorsgd.datasets.attention": "attention_head",
    "taylorsgd.datasets.cifar10": "read_cifar10",
    "taylorsgd.datasets.dropout": "with_dropout",
    "taylorsgd.datasets.fashion": "fashion_mnist",
    "taylorsgd.datasets.handwriting": "digits",
    "taylorsgd.datasets.idx": "read_idx_images",
    "taylorsgd.datasets.nets": "convolutional_net logistic_regression",
}

__dir__ = listing(__name__)
__getattr__ = loader(__name__, NAMES)
