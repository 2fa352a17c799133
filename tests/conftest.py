"""What holds for all tests."""

from hypothesis import settings

# No deadline: on a busy machine an example's time says nothing about the code.
settings.register_profile("passferry", deadline=None)
settings.load_profile("passferry")
