"""Pure decisions: no clock, randomness, input or output; arguments in, frozen values out."""
