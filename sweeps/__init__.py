"""Many runs of train.py: planned, carried out in few processes or on a cluster, resumed."""
