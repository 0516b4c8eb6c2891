"""Keras 3 on JAX: ModelCheckpoint with a file an epoch, BackupAndRestore for the resume."""

import os
import re

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy

from frameworklib import jobs


def weights(model):
    return jobs.digest({str(i): w for i, w in enumerate(model.get_weights())})


def small_model():
    keras.utils.set_random_seed(7)
    model = keras.Sequential([keras.Input((256,)), keras.layers.Dense(512, activation="relu"), keras.layers.Dense(256)])
    model.compile(optimizer=keras.optimizers.SGD(0.05), loss="mse")
    return model


def saved(directory):
    """{epoch: path}."""
    found = {int(m.group(1)): os.path.join(directory, m.group(0)) for m in map(re.compile(r"model-(\d+)\.keras$").match, os.listdir(directory)) if m}
    return dict(sorted(found.items()))


class Watch(keras.callbacks.Callback):
    """The last of the callbacks: Keras keeps every file, so the old ones go here."""

    def __init__(self, directory, notes):
        super().__init__()
        self.directory, self.notes = directory, notes

    def on_epoch_end(self, epoch, logs=None):
        self.notes.add("trained", step=epoch + 1, weights=weights(self.model))
        self.notes.add("saved", step=epoch + 1)
        for path in list(saved(self.directory).values())[:-2]:
            os.remove(path)
        jobs.pause()


def train(directory, notes, steps):
    model, backup = small_model(), os.path.join(directory, "backup")
    restored = os.path.join(backup, "training_metadata.json")
    notes.add("started", step=0, backup=os.path.exists(restored))
    data = numpy.random.default_rng(1).normal(size=(32, 256))
    model.fit(data, data, epochs=steps, batch_size=32, shuffle=False, verbose=0, callbacks=[
        keras.callbacks.BackupAndRestore(backup, delete_checkpoint=False),
        keras.callbacks.ModelCheckpoint(os.path.join(directory, "model-{epoch:05d}.keras")),
        keras.callbacks.CSVLogger(os.path.join(directory, "history.csv"), append=True),
        Watch(directory, notes)])


def load(directory):
    epoch, path = list(saved(directory).items())[-1]
    return epoch, weights(keras.models.load_model(path))


if __name__ == "__main__":
    jobs.main(train, load)
