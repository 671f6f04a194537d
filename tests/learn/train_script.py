"""Train on synthetic data in a process of its own: train_script.py FOLDER NAME [resume] [slow]."""

import json
import sys
import time

import torch
from synthetic import SyntheticData, small_config

from lacbed.learn.config import config_from_dict
from lacbed.learn.distributed import processes
from lacbed.learn.train import train

if __name__ == "__main__":
    folder, name, *words = sys.argv[1:]
    torch.set_num_threads(1)
    config = config_from_dict(small_config(name, augment=True, clip=1.0))
    pause = 0.05 if "slow" in words else 0.0
    training = SyntheticData(13)
    if pause:

        class Slow(SyntheticData):
            def __getitem__(self, index):
                time.sleep(pause)
                return super().__getitem__(index)

        training = Slow(13)
    with processes("cpu") as ranks:
        ended = train(config, training, SyntheticData(5, 100), folder, ranks=ranks, resume="resume" in words)
    if ranks.is_first:
        sys.stdout.write(json.dumps(ended.validation) + "\n")
