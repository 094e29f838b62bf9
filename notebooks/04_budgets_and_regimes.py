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
# # Budgets and regimes
#
# Smith et al. 2020 trained networks for a fixed number of epochs at every batch size, each with its best learning rate, and
# found two regimes. The noisy quadratic model shows both.

# %%
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from nqmjax import SGD, HeavyBall, power_law, schedules
from nqmjax.schedules import budget_curve, budget_regimes, transfer

problem = power_law(10_000).quantize(100)
batch_sizes = 2.0 ** np.arange(0, 15)
methods = {"SGD": SGD(0.1), "momentum 0.9": HeavyBall(0.1, 0.9)}

# %% [markdown]
# ## So many epochs
#
# Two million examples, with the schedule of the paper (constant for half of the run, then ten halvings). While noise
# dominates, the best rate is proportional to the batch size, the final risk does not depend on it, and momentum gains nothing.
# Above the boundary curvature dominates: the rate is flat, the risk grows, and momentum, whose boundary lies higher, helps.

# %%
curves = {name: budget_curve(problem, method, batch_sizes, examples=2e6) for name, method in methods.items()}
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
for (name, curve), marker in zip(curves.items(), "os", strict=True):
    left.loglog(curve.batch_size, curve.risk, marker=marker, label=name)
    right.loglog(curve.batch_size, curve.effective_learning_rate, marker=marker, label=name)
    right.axvline(budget_regimes(curve).boundary, color="0.6", linestyle=":")
left.set(xlabel="batch size (examples)", ylabel="tuned final risk")
right.set(xlabel="batch size (examples)", ylabel="tuned effective learning rate")
left.legend()
plt.show()

# %% [markdown]
# The detected regimes: the exponent of the rate, up to which batch size the linear rule holds, and where curvature takes over.

# %%
regimes = {name: budget_regimes(curve)._asdict() for name, curve in curves.items()}
xr.Dataset({key: ("optimizer", [row[key] for row in regimes.values()]) for key in next(iter(regimes.values()))}).assign_coords(
    optimizer=list(regimes)
).to_dataframe()

# %% [markdown]
# ## So many updates
#
# With the number of updates fixed, a larger batch never hurts the training loss: it is less noise for the same path.

# %%
budget_curve(problem, methods["momentum 0.9"], 4.0 ** np.arange(2, 8), steps=5000)[
    ["risk", "effective_learning_rate"]
].to_dataframe()

# %% [markdown]
# ## Moving a recipe
#
# A cosine schedule works at batch size 32; what about 256? In the noise-dominated regime the linear rule keeps the risk after
# the same number of epochs, and the number of examples to the same risk; the square-root rule falls short of it.

# %%
recipe = schedules.cosine(0.1, steps=20_000, batch_size=32)
transfer(problem, SGD(0.1), recipe, batch_size=256).to_dataframe()
