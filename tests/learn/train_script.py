"""Train on synthetic data in a process of its own: train_script.py FOLDER."""

import sys
import time

import torch
from synthetic import SyntheticData, small_config

from lacbed.learn.config import config_from_dict
from lacbed.learn.distributed import processes
from lacbed.learn.train import train


class Slow(SyntheticData):
    """Gives time to be killed in."""

    def __getitem__(self, index):
        time.sleep(0.05)
        return super().__getitem__(index)


def main(folder, resume=False, training=SyntheticData):
    torch.set_num_threads(1)
    config = config_from_dict(small_config("unet", augment=True, clip=1.0))
    with processes("cpu") as ranks:
        train(config, training(13), SyntheticData(5, 100), folder, ranks=ranks, resume=resume)


if __name__ == "__main__":
    main(sys.argv[1])
