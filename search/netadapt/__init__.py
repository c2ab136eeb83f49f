"""NetAdapt: narrowing a trained network, layer by layer, until a measured look-up table says that it is fast enough."""
