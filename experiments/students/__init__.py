"""What ``experiments.shipping`` trains, runs and sums up."""
