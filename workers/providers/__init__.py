"""One file per provider: translations between our `Call` and the provider's bytes. Pure."""
