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
# # A first curve
#
# How many updates does training take at each batch size, if momentum and learning rate are tuned for it?
# Ten lines answer for the problem of Zhang et al. 2019: 10,000 directions of curvature $h_i = 1/i$, gradient noise of the
# same covariance, and a target risk of 0.01.

# %%
import matplotlib.pyplot as plt
import numpy as np

from nqmjax import HeavyBall, bayes_examples, critical_batch_size, power_law, risk_curve, tune

problem = power_law(10_000).quantize(100)
batch_sizes = 2.0 ** np.arange(2, 21, 2)
curve = tune(problem, HeavyBall(learning_rate=0.1, momentum=0.9), batch_sizes, target=0.01)

plt.loglog(curve.batch_size, curve.steps, "o-", label="heavy ball, tuned")
plt.loglog(curve.batch_size, bayes_examples(problem, 0.01) / batch_sizes, "k--", label="Bayes bound")
plt.gca().set(xlabel="batch size (examples)", ylabel="steps to risk 0.01 (updates)")
_ = plt.legend()

# %% [markdown]
# Small batches scale perfectly: four times the batch, a quarter of the steps. Beyond $10^4$ examples the curve bends, and
# beyond $10^5$ a larger batch saves next to nothing. No optimizer gets below the Bayes bound: fewer examples do not tell
# where the optimum is.
#
# `tune` returns a labelled table. The rates and momenta in the template were placeholders; these are the tuned ones:

# %%
columns = ["steps", "learning_rate", "momentum", "effective_learning_rate", "efficiency"]
curve[columns].to_dataframe()[columns].astype({"steps": int}).map(
    lambda value: f"{value:.4g}" if value < 1e4 else f"{value:.0f}"
)

# %% [markdown]
# `efficiency` is the fewest examples that can suffice (the Bayes bound) over the examples used: constant while scaling is
# perfect, then falling, because larger batches no longer save steps. One definition of the critical batch size is where
# training uses 20% more examples than at the smallest batch:

# %%
print(critical_batch_size(curve, definition="overhead"))

# %% [markdown]
# The steps are exact, because the risk is: the run at batch size $2^{14}$, update by update, meets the target at the step that
# the table says, and not before.

# %%
best = curve.sel(batch_size=2**14)
steps = int(best.steps)
risks = risk_curve(problem, HeavyBall(float(best.learning_rate), float(best.momentum)), 2**14, num_steps=2 * steps)
assert risks[steps] <= 0.01 < risks[:steps].min()

figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
axes.semilogy(risks)
axes.axhline(0.01, color="0.5", ls=":", label="target")
axes.plot(steps, risks[steps], "ko", label=f"first met after {steps} updates")
axes.set(xlabel="steps (updates)", ylabel="risk", title="heavy ball, batch size $2^{14}$")
_ = axes.legend()
