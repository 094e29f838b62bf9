"""Laws of the loss of training runs: the noisy quadratic system and its options, and the scaling laws of others."""
