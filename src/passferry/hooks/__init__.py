"""What runs on a source's machine: hands new passwords over to the gateway, spools them while it is away."""
