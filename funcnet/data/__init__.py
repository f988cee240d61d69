"""Data: files and generators in, batches out."""

from funcnet.data import augment as augment
from funcnet.data.batches import Normalization as Normalization
from funcnet.data.batches import batch_count as batch_count
from funcnet.data.batches import batches as batches
from funcnet.data.batches import normalization as normalization
from funcnet.data.cifar import read_cifar10 as read_cifar10
from funcnet.data.cifar import read_cifar100 as read_cifar100
from funcnet.data.dataset import DataError as DataError
from funcnet.data.dataset import Dataset as Dataset
from funcnet.data.dataset import Split as Split
from funcnet.data.dataset import hold_out as hold_out
from funcnet.data.glyphs import glyphs as glyphs
from funcnet.data.glyphs import glyphs_dataset as glyphs_dataset
from funcnet.data.idx import read_idx as read_idx
from funcnet.data.images import read_image_folder as read_image_folder
from funcnet.data.npz import read_npz as read_npz
from funcnet.data.own import read_dataset as read_dataset
from funcnet.data.registry import load as load
