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
# # From four runs to a plan
#
# You have tuned SGD with momentum 0.9 at four batch sizes and counted the updates to one target loss. Which rate, and how many
# updates, at a batch four or sixteen times as large? Would an average of the iterates do better, or a schedule?
#
# Here the runs are made by nqmjax itself, on a problem that is used again only to check what was foretold; 3% of scatter stands
# for seeds.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import nqmjax as nq
from nqmjax.scaling import Observed, recipes

law = nq.power_law(1_000_000, exponent=1.1).quantize(40)
truth, goal = nq.from_spectrum(law.curvature, law.count, noise=4 * law.curvature), 0.4
momentum = nq.HeavyBall(0.1, 0.9)
sizes = 4.0 ** np.arange(3, 9)
secret = nq.tune(truth, momentum, sizes, goal, fixed=["momentum"], progress=False)
scatter = np.exp(0.03 * np.random.default_rng(0).normal(size=(2, 4)))
mine = Observed(sizes[:4], secret.steps.values[:4] * scatter[0], secret.learning_rate.values[:4] * scatter[1])
mine_as_table = {"updates": mine.steps.round(), "learning rate": mine.learning_rate.round(4)}
pd.DataFrame(mine_as_table, index=pd.Index(mine.batch_size.astype(int), name="batch size"))

# %% [markdown]
# ## The law
#
# `anchored_curve` joins what is known of both ends: examples are all that counts at small batches, updates at large ones.
# Each number comes with an interval, which widens away from the runs.

# %%
curve = nq.anchored_curve(mine, "heavy_ball")
print(curve)
print(nq.critical_batch_size(curve, "overhead"))
table = recipes(curve, sizes)
shown = table[["steps", "steps_lower", "steps_upper", "learning_rate"]].to_dataframe()
shown.assign(truth=secret.steps.values).round(3)

# %% [markdown]
# ## A quadratic in my units
#
# The law knows nothing of schedules or of other optimizers. `fit_problem` finds the power law whose tuned curve is mine, in my
# units of rate, batch and updates.

# %%
fitted = nq.fit_problem(mine, momentum)
print(fitted)
found = fitted.curve(sizes)
figure, axes = plt.subplots(figsize=(5, 3.5), layout="constrained")
axes.fill_between(sizes, table.steps_lower, table.steps_upper, alpha=0.2, label="the law, 90%")
axes.loglog(sizes, table.steps, label="the law")
axes.loglog(sizes, found.steps, "--", label="the fitted quadratic")
axes.loglog(sizes, secret.steps, "k.", label="the truth")
axes.loglog(mine.batch_size, mine.steps, "rs", label="my four runs")
axes.set(xlabel="batch size (examples)", ylabel="updates to the target")
axes.set_xscale("log", base=2)
_ = axes.legend()

# %% [markdown]
# ## Questions that no curve answers
#
# At four times the largest batch that was run: what would plain SGD take, and an average of the iterates? None of these was
# run; the column "true" is what they take on the problem that made the runs.

# %%
batch = 4.0**7
others = {"heavy ball": momentum, "SGD": nq.SGD(0.1), "heavy ball, averaged": nq.Averaged(momentum, 0.99)}
rows = {}
for name, optimizer in others.items():
    held = [] if name == "SGD" else ["momentum"]
    said = nq.tune(fitted.problem, optimizer, batch, fitted.target, held, progress=False)
    real = nq.tune(truth, optimizer, batch, goal, held, progress=False)
    rows[name] = {"updates, foretold": said.steps.item(), "true": real.steps.item(), "rate": said.learning_rate.item()}
pd.DataFrame.from_dict(rows, orient="index").round(3)

# %% [markdown]
# ## The plan
#
# And a schedule, at the largest batch that I ran, with rates no higher than those that I ran? On the fitted problem
# `steps_to_target_with_schedule` finds the shortest one that reaches the target, in my units; the truth decides how good it is.

# %%
batch, cap = mine.batch_size[-1], mine.learning_rate[-1]
best = nq.steps_to_target_with_schedule(fitted.problem, momentum, batch, fitted.target, pieces=4, max_learning_rate=cap)
assert best.plan is not None, "no plan reaches the target"
risks = nq.run(truth, momentum, best.plan)
print(
    f"{best.steps:.0f} updates instead of {mine.steps[-1]:.0f}; in truth they end at a loss of {risks[-1]:.3f} (target {goal})"
)
pd.DataFrame({"updates": best.plan.steps, "learning rate": best.plan.learning_rate.round(4)})
