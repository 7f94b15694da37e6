"""Statistics of many calls: paired differences, intervals over clusters, power. Pure."""
