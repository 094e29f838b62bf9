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
# # Large batches: gradients, updates, and rates of layers
#
# Gradients of large batches are small. Does that make them worse? And what do layer-wise rates (LARS, LAMB) do about it?
#
# The problem has three layers of 1,000 directions. Curvatures fall from layer to layer by a factor of 10, and within each by
# another; gradient noise has the same covariance, and each layer begins with the same part of the loss.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import nqmjax as nq

scale = np.repeat([1.0, 0.1, 0.01], 50)
curvature = scale * np.tile(np.geomspace(1.0, 0.1, 50), 3)
layer = np.repeat(["stiff", "middle", "soft"], 50)
problem = nq.from_spectrum(curvature, count=20, initial=1 / scale, layer=layer)
print(f"loss {problem.initial_risk:.0f} at the start")

# %% [markdown]
# ## The first gradient
#
# A gradient is signal and noise. The mean of $|g|$ falls as $B^{-1/2}$ as long as noise dominates, and stays what it is beyond:
# `exponent` goes from $-1/2$ to 0. In between lies the batch size `B_L1`, which differs from layer to layer.

# %%
batch_sizes = 2.0 ** np.arange(0, 21, 2)
first = nq.strides(problem, nq.SGD(0.1), batch_sizes, steps=1).isel(step=0)
figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
for name in ("stiff", "middle", "soft"):
    part = first.sel(layer=name)
    axes[0].loglog(batch_sizes, part.mean_gradient, "o-", label=f"{name}, B_L1 = {float(part.B_L1[0]):.3g}")
    axes[1].semilogx(batch_sizes, part.exponent, "o-")
axes[0].set(xlabel="batch size (examples)", ylabel="mean |gradient|")
axes[1].set(xlabel="batch size (examples)", ylabel="local exponent")
_ = axes[0].legend()

# %% [markdown]
# ## An epoch
#
# At one rate an epoch of larger batches moves less and learns less, because it has fewer updates. With the rate in proportion
# to the batch size (the linear rule) it learns as much, as long as noise dominates; its path still becomes shorter, for what
# it loses is noise that cancelled anyway. Neither gradient nor path says how much is learnt.

# %%
rows = []
for batch in (16, 64, 256, 1024):
    for rule, rate in {"one rate": 0.02, "linear rule": 0.02 * batch / 16}.items():
        updates = 16_384 // batch
        run = nq.strides(problem, nq.SGD(rate), batch, updates, dataset_size=16_384).sel(layer="all")
        loss = problem.initial_risk + run.loss_change_per_epoch.item()
        rows.append((rule, batch, updates, run.mean_update_per_epoch.item(), loss))
table = pd.DataFrame(rows, columns=["rule", "batch size", "updates", "path", "loss after an epoch"])
table.pivot(index="batch size", columns="rule").drop(columns=("updates", "linear rule")).round(3)

# %% [markdown]
# ## Rates of layers
#
# What limits large batches is curvature: one rate for all is stable only below $2 / h_{max}$, at which the soft layer takes
# hundreds of updates whatever the batch. LARS and LAMB move each layer by a share of its own norm: a rate of its own for
# each. At the best of 40 rates, to a hundredth of the loss:

# %%
sizes, target = 2.0 ** np.arange(6, 19, 4), problem.initial_risk / 100
shares = np.geomspace(0.1, 1.0, 40)
methods = {
    "SGD": nq.SGD(2.0 * shares),
    "LARS": nq.LARS(1000.0 * shares, momentum=0.0),
    "LAMB": nq.LAMB(0.5 * shares, nodes=16),
}
found = {name: nq.sweep(problem, method, sizes, target, 1000, progress=False) for name, method in methods.items()}
steps = {name: grid.steps.min("learning_rate").values.astype(int) for name, grid in found.items()}
pd.DataFrame(steps, index=pd.Index(sizes, name="batch size"))

# %% [markdown]
# Two cautions. These methods rest on norms, which are certain only where many directions carry them. And the weights of the
# quadratic are distances from the optimum, so that a share of their norm shrinks on its own as the optimum comes near; those
# of a network keep their norm, and a schedule has to do it.

# %%
carriers = nq.participation(problem, sizes)
pd.DataFrame({"directions that carry a layer's gradient": carriers.round()}, index=pd.Index(sizes, name="batch size"))
