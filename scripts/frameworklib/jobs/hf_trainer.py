"""Hugging Face's Trainer: checkpoint-<n>/, save_total_limit, TensorBoard."""

import os

import torch
import transformers
from transformers.trainer_utils import get_last_checkpoint

from frameworklib import jobs


def small_model():
    torch.manual_seed(7)
    return transformers.BertForSequenceClassification(transformers.BertConfig(
        vocab_size=512, hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=512,
        max_position_embeddings=64, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))


class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 512

    def __getitem__(self, i):
        return {"input_ids": torch.tensor([i % 512, (7 * i) % 512, (13 * i) % 512]), "labels": torch.tensor(i % 2)}


class Watch(transformers.TrainerCallback):
    def __init__(self, notes):
        self.notes = notes

    def on_step_end(self, args, state, control, model=None, **_):
        self.notes.add("trained", step=state.global_step, weights=jobs.torch_digest(model.state_dict()))
        jobs.pause()

    def on_save(self, args, state, control, **_):
        self.notes.add("saved", step=state.global_step)


class Trainer(transformers.Trainer):
    def get_train_dataloader(self):  # its own does not know Debian's PyTorch, which is 1.13
        return torch.utils.data.DataLoader(self.train_dataset, batch_size=4, collate_fn=self.data_collator)


def train(directory, notes, steps):
    torch.set_num_threads(1)
    last = get_last_checkpoint(directory)
    notes.add("started", step=int(last.rpartition("-")[2]) if last else 0)
    arguments = transformers.TrainingArguments(
        directory, max_steps=steps, save_strategy="steps", save_steps=1, save_total_limit=2, logging_steps=1,
        per_device_train_batch_size=4, learning_rate=1e-3, lr_scheduler_type="constant", use_cpu=True,
        report_to=["tensorboard"], disable_tqdm=True, seed=7)
    trainer = Trainer(small_model(), arguments, train_dataset=Data(), callbacks=[Watch(notes)])
    trainer.train(resume_from_checkpoint=last)
    trainer.save_model(os.path.join(directory, "final"))


def load(directory):
    last = get_last_checkpoint(directory)
    model = transformers.BertForSequenceClassification.from_pretrained(last)
    return int(last.rpartition("-")[2]), jobs.torch_digest(model.state_dict())


if __name__ == "__main__":
    jobs.main(train, load)
