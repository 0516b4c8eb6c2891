"""Lightning's Trainer and ModelCheckpoint: one file a checkpoint, last.ckpt as a symlink."""

import os

from frameworklib.jobs import debian_torch  # noqa: F401, before Lightning

import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger

from frameworklib import jobs


class Model(lightning.LightningModule):
    def __init__(self, notes=None):
        super().__init__()
        self.net, self.notes = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.ReLU(), torch.nn.Linear(512, 256)), notes

    def training_step(self, batch, _):
        loss = (self.net(batch) ** 2).mean()
        self.log("loss", loss)
        return loss

    def on_train_batch_end(self, *_):
        self.notes.add("trained", step=self.global_step, weights=jobs.torch_digest(self.state_dict()))
        jobs.pause()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)


class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, i):
        torch.manual_seed(i)
        return torch.randn(256)


class Saver(ModelCheckpoint):
    def __init__(self, directory, notes):
        super().__init__(dirpath=os.path.join(directory, "checkpoints"), filename="{epoch}-{step}", save_last="link",
                         monitor="step", mode="max", save_top_k=2, every_n_epochs=1)
        self.notes = notes

    def on_train_epoch_end(self, trainer, module):
        super().on_train_epoch_end(trainer, module)
        self.notes.add("saved", step=trainer.global_step)


def newest(directory):
    last = os.path.join(directory, "checkpoints", "last.ckpt")
    return last if os.path.exists(last) else None


def train(directory, notes, steps):
    torch.set_num_threads(1)
    torch.manual_seed(7)
    last = newest(directory)
    notes.add("started", step=torch.load(last)["global_step"] if last else 0)
    trainer = lightning.Trainer(
        max_epochs=steps, accelerator="cpu", default_root_dir=directory, callbacks=[Saver(directory, notes)],
        logger=CSVLogger(directory, name="logs"), log_every_n_steps=1, enable_progress_bar=False, enable_model_summary=False)
    trainer.fit(Model(notes), torch.utils.data.DataLoader(Data(), batch_size=2), ckpt_path=last)


def load(directory):
    saved = torch.load(newest(directory))
    return saved["global_step"], jobs.torch_digest(saved["state_dict"])


if __name__ == "__main__":
    jobs.main(train, load)
