"""What it takes to plan for many machines: costs of statements, and a simulation that is fed with them."""
