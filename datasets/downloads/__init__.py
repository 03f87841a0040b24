"""Getting the benchmark data sets: where they come from, downloading, unpacking, and laying them out as CoOp does."""
