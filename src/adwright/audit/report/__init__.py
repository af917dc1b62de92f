"""What texts did to ranks: trials in fresh orders, measures with intervals, a page and a gate."""
