"""What `meta_step.py` is made of: the problem, the programs that solve it, counts and targets."""
