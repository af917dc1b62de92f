"""What click rates are learnt from and judged by: outcomes, stories, guards, folds and rules."""
