"""NetAdapt: a trained network is narrowed, layer by layer, until a look-up table of latencies shows it fast enough."""
