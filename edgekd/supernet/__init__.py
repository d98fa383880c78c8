"""A network that holds many: subnets share its weights, and any of them can be run or taken out."""
