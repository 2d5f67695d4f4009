"""What is chosen: settings, profiles, and the backends that there are."""
