# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From a network to its critical batch size
#
# You have a network and data. How many updates does it take at every batch size, at which rate, and from which batch size on
# are examples wasted? A sweep over batch sizes and rates says it; a pilot says it for a fraction of the runs.
#
# The network here is small, so that the sweep can be made as well: a perceptron that learns the labels of another one.

# %%
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from nqmjax.training import Task, experiment, pilot, tuned

rng = np.random.default_rng(0)
inputs = np.float32(rng.normal(size=(500, 8)) * np.arange(1, 9) ** -0.5)
labels = (np.tanh(inputs @ rng.normal(size=(8, 8))) @ rng.normal(size=(8, 3))).argmax(1)


def start(seed):
    draw = np.random.default_rng(seed).normal
    return {"first": draw(size=(8, 32)) / 8**0.5, "last": draw(size=(32, 3)) / 32**0.5}


def apply(params, inputs):
    return jnp.tanh(inputs @ params["first"]) @ params["last"]


task = Task(apply, start, (inputs, labels), loss="cross_entropy", name="perceptron")
print(task)

# %% [markdown]
# `Task` takes any loss of parameters and a batch, or outputs and the name of a loss, as here. A network in PyTorch is
# tuned there at two batch sizes, and `nqmjax.training.forecast` goes on from there.
#
# ## The pilot
#
# Rates race at a large batch size, here all examples, which is no noise at all, and at a small one; the best ones and their
# neighbours are trained with two seeds. Between the two batch sizes a law interpolates that has held for many networks.

# %%
batch_sizes, target = [4, 16, 64, 256], 0.3
table = pilot(task, ["sgd"], batch_sizes, target, small=4, rates=2.0 ** np.arange(-4, 5), evaluation=None, progress=False)
print(table.attrs["advice"])
table[["steps", "steps_lower", "steps_upper", "learning_rate"]].sel(optimizer="sgd").to_dataframe().round(3)

# %% [markdown]
# ## The critical batch size
#
# `overhead`: from here on a run takes 20% more examples than with small batches. `knee`: here the fewest updates, which no
# batch size can save, would take the fewest examples.

# %%
table[["critical_batch_size", "critical_batch_size_lower", "critical_batch_size_upper"]].sel(
    optimizer="sgd"
).to_dataframe().round(0)

# %% [markdown]
# ## Was it right?
#
# The sweep: every batch size with five rates around the one that was foretold, and two seeds. Losses are recorded as often as
# in the pilot, for where they fluctuate a run that is looked at more often is seen at the target earlier.

# %%
rates = table.learning_rate.sel(optimizer="sgd")
curves = experiment(
    task,
    ["sgd"],
    batch_sizes,
    lambda batch: float(rates.sel(batch_size=batch)) * 2.0 ** np.arange(-2, 3),
    max_steps=2000,
    seeds=2,
    target=target,
    slack=1.5,
    spacing=1.1,
    evaluation=None,
    progress=False,
)
swept = tuned(curves, target).sel(optimizer="sgd")
told = table.sel(optimizer="sgd")

figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
for axis, name, label in zip(axes, ("steps", "learning_rate"), ("updates to target", "learning rate"), strict=True):
    axis.fill_between(batch_sizes, told[f"{name}_lower"], told[f"{name}_upper"], alpha=0.2, label="foretold")
    axis.loglog(batch_sizes, swept[name], "o", label="swept")
    axis.set_xscale("log", base=2)
    axis.set(xlabel="batch size (examples)", ylabel=label)
_ = axes[0].legend()

# %% [markdown]
# Each further optimizer is one more name: `pilot(task, ["sgd", "heavy_ball", "adam"], ...)`. On the command line a network in a
# file is piloted by `nqmjax pilot --model my_module:make --target 0.3`.
